//! Threads that work together on one row of elements, and how they combine what each found.
//!
//! A combination has a fixed order (lanes of a warp pairwise, then warps pairwise), so that results do not depend on timing.

use super::entry::{Entry, Size};
use crate::ptx::{Class, Cmp, Int2, Kernel, Op, Reg, Shuffle, Space, Special, Ty};
use planc_plan::launch::Launch;
use planc_tensor::Dim;

/// How many threads share a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Team {
    /// One.
    Thread,
    /// A warp.
    Warp,
    /// A block.
    Block,
}

/// Threads of a block.
const THREADS: u32 = 256;
const WARPS: u32 = THREADS / 32;

impl Team {
    /// The team for rows of `length` neighbouring elements.
    pub(super) fn for_row(length: &Dim) -> Team {
        match length.as_const() {
            Some(..=8) => Team::Thread,
            Some(..=1024) | None => Team::Warp,
            Some(_) => Team::Block,
        }
    }

    /// Threads of a team.
    pub(super) fn width(self) -> u32 {
        match self {
            Team::Thread => 1,
            Team::Warp => 32,
            Team::Block => THREADS,
        }
    }
}

/// A kernel with one team per row.
pub(super) struct Rows {
    /// The kernel.
    pub(super) e: Entry,
    /// Number of the team's row.
    pub(super) row: Reg,
    /// Number of the thread within its team.
    pub(super) lane: Reg,
    /// The team.
    pub(super) team: Team,
    rows: Dim,
}

impl Rows {
    /// Starts a kernel over `rows` rows.
    pub(super) fn start(stem: &str, rows: &Dim, team: Team) -> Result<Rows, String> {
        let mut e = Entry::new(stem, [THREADS, 1, 1]);
        let n = e.size(rows)?;
        let (row, lane) = match team {
            Team::Thread => (e.thread(), e.b.mov(Class::B32, 0u32)),
            Team::Warp => {
                let thread = e.thread();
                (e.b.int2(Int2::Shr, Ty::U32, thread, 5u32), e.b.int2(Int2::And, Ty::B32, thread, 31u32))
            }
            Team::Block => (e.b.special(Special::CtaidX), e.b.special(Special::TidX)),
        };
        // Teams leave as a whole: no one waits for them.
        let outside = e.b.setp(Cmp::Ge, Ty::U32, row, n);
        e.b.exit_if(outside);
        Ok(Rows { e, row, lane, team, rows: rows.clone() })
    }

    /// `body` for every number below `length`, shared out among the team.
    pub(super) fn each(
        &mut self,
        length: Size,
        body: impl FnOnce(&mut Entry, Reg) -> Result<(), String>,
    ) -> Result<(), String> {
        self.e.steps(self.lane, length, self.team.width(), body)
    }

    /// What `combine`, which does not care for the order of its operands, makes of `values` of all threads of the team;
    /// every thread gets it.
    pub(super) fn combine(
        &mut self,
        values: &[Reg],
        combine: impl Fn(&mut Entry, &[Reg], &[Reg]) -> Vec<Reg>,
    ) -> Vec<Reg> {
        let e = &mut self.e;
        let across = |e: &mut Entry, mut values: Vec<Reg>, from: u32| {
            let mut mask = from;
            while mask > 0 {
                let others: Vec<Reg> = values.iter().map(|v| shuffle(e, *v, mask)).collect();
                values = combine(e, &values, &others);
                mask /= 2;
            }
            values
        };
        if self.team == Team::Thread {
            return values.to_vec();
        }
        let values = across(e, values.to_vec(), 16);
        if self.team == Team::Warp {
            return values;
        }
        let buffers: Vec<Reg> =
            values.iter().map(|v| e.b.shared(8 * WARPS, if v.class.ty().bytes() == 8 { 8 } else { 4 })).collect();
        let lane = e.b.int2(Int2::And, Ty::B32, self.lane, 31u32);
        let warp = e.b.int2(Int2::Shr, Ty::U32, self.lane, 5u32);
        let first = e.b.setp(Cmp::Eq, Ty::U32, lane, 0u32);
        e.b.if_then(first, |b| {
            for (v, buffer) in values.iter().zip(&buffers) {
                let ty = v.class.ty();
                let at = b.mad(Ty::U32, warp, ty.bytes(), *buffer);
                b.st(Space::Shared, ty, at, *v);
            }
        });
        e.b.barrier();
        let slot = e.b.int2(Int2::And, Ty::B32, lane, WARPS - 1);
        let found = values.iter().zip(&buffers).map(|(v, buffer)| {
            let ty = v.class.ty();
            let at = e.b.mad(Ty::U32, slot, ty.bytes(), *buffer);
            e.b.ld(Space::Shared, ty, at)
        });
        let found = found.collect();
        across(e, found, WARPS / 2)
    }

    /// The kernel and its launch.
    pub(super) fn launch(self) -> (Kernel, Launch) {
        let per_block = THREADS / self.team.width();
        let one = Dim::from(1usize);
        let blocks = self.rows.ceil_div(&Dim::from(per_block as usize));
        self.e.launch([blocks, one.clone(), one], 0)
    }
}

/// `v` of the lane whose number differs by `mask`.
fn shuffle(e: &mut Entry, v: Reg, mask: u32) -> Reg {
    if v.class.ty().bytes() < 8 {
        return e.b.shuffle(Shuffle::Bfly, v, mask);
    }
    let bits = e.b.bits(Class::B64, v);
    let parts = e.b.results(Op::Unpack(Ty::B64), &[bits.into()]);
    let moved: Vec<_> = parts.iter().map(|p| e.b.shuffle(Shuffle::Bfly, *p, mask).into()).collect();
    let bits = e.b.op(Op::Pack(Ty::B64), &moved);
    e.b.bits(v.class, bits)
}
