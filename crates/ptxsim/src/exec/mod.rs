//! One warp: its registers, which of its lanes are where, and how each instruction changes them.
//!
//! Lanes at the same instruction run together; among several groups the one that is least far goes first, so that groups meet
//! again where their paths join. Everything a lane reads must have been written.

mod copy;
mod memory;
mod mma;
mod warp;

use crate::decode::{LOCAL_BASE, LOCAL_WINDOW, SHARED_BASE, SHARED_WINDOW};
use crate::error::{FaultKind, Trap};
use crate::global::Global;
use crate::isa::{Bool, Combine, LANES, Lanes, Op, Pred, Reg, Row, RowKind, Space, Special, ones};
use crate::num::convert;
use crate::parse::Entry;
use crate::shared::Shared;

pub(crate) use copy::Copy;

/// What a launch counted. All counts are of warps, not of lanes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Blocks that ran.
    pub blocks: u64,
    /// Instructions that warps executed.
    pub instructions: u64,
    /// Matrix products among them.
    pub mma: u64,
    /// 32-byte sectors of global memory that loads and stores touched.
    pub sectors: u64,
    /// The fewest sectors that could hold as many bytes.
    pub ideal_sectors: u64,
    /// Passes that loads and stores of shared memory took with its 32 banks.
    pub passes: u64,
    /// The passes without any conflict of banks.
    pub ideal_passes: u64,
}

impl Stats {
    /// Adds the counts of another launch.
    pub fn add(&mut self, other: &Stats) {
        self.blocks += other.blocks;
        self.instructions += other.instructions;
        self.mma += other.mma;
        self.sectors += other.sectors;
        self.ideal_sectors += other.ideal_sectors;
        self.passes += other.passes;
        self.ideal_passes += other.ideal_passes;
    }
}

/// What the warps of a block share while they run.
pub(crate) struct Context<'a> {
    pub entry: &'a Entry,
    pub params: &'a [u8],
    pub global: &'a mut Global,
    pub shared: Shared,
    /// Per thread of the block: bytes, and whether they were written.
    pub local: Vec<Vec<(u8, bool)>>,
    /// Asynchronous copies arrive at once and not when they are waited for.
    pub eager: bool,
    pub stats: Stats,
    pub budget: u64,
}

/// Lanes that are at the same instruction.
#[derive(Clone, Copy, Debug)]
struct Group {
    pc: u32,
    mask: u32,
}

/// Why a warp stopped running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Its turn is over.
    Turn,
    /// Some lanes came to a barrier.
    Barrier { id: u32, count: Option<u32>, wait: bool, lanes: u32 },
    /// Some lanes are through.
    Exited,
    /// No lane can run: all are through or wait.
    Idle,
}

pub(crate) struct Warp {
    pub id: u32,
    rows: Vec<Row>,
    /// Per row: lanes that were written.
    init: Vec<u32>,
    preds: Vec<u32>,
    pred_init: Vec<u32>,
    current: Group,
    ready: Vec<Group>,
    /// The lowest instruction among `ready`.
    next: u32,
    /// Groups behind a barrier, with its number.
    waiting: Vec<(Group, u32)>,
    /// Lanes that have not exited.
    pub live: u32,
    copies: Vec<Copy>,
    /// Per lane: how many groups of copies it committed.
    committed: [u32; LANES],
    one: Row,
}

/// Indices of the lanes in a mask.
pub(crate) fn lanes(mask: u32) -> impl Iterator<Item = usize> {
    let mut rest = mask;
    std::iter::from_fn(move || {
        let lane = rest.trailing_zeros() as usize;
        rest &= rest.wrapping_sub(1);
        (lane < LANES).then_some(lane)
    })
}

impl Warp {
    pub(crate) fn new(id: u32, entry: &Entry) -> Warp {
        let constant = |r: &RowKind| if let RowKind::Constant(v) = r { [*v; LANES] } else { [0; LANES] };
        Warp {
            id,
            rows: entry.rows.iter().map(constant).collect(),
            init: vec![0; entry.rows.len()],
            preds: vec![0; entry.preds.len()],
            pred_init: vec![0; entry.preds.len()],
            current: Group { pc: 0, mask: 0 },
            ready: vec![],
            next: u32::MAX,
            waiting: vec![],
            live: 0,
            copies: vec![],
            committed: [0; LANES],
            one: [0; LANES],
        }
    }

    /// Puts the warp to the start of a block.
    pub(crate) fn start(&mut self, entry: &Entry, threads: u32, special: impl Fn(Special, u32) -> u32) {
        let first = self.id * LANES as u32;
        self.live = ones((threads - first).min(LANES as u32)) as u32;
        for ((row, init), kind) in self.rows.iter_mut().zip(&mut self.init).zip(&entry.rows) {
            *init = 0;
            match kind {
                RowKind::Constant(_) => *init = !0,
                RowKind::Special(s) => {
                    *init = !0;
                    for (lane, v) in row.iter_mut().enumerate() {
                        *v = u64::from(match s {
                            Special::LaneId => lane as u32,
                            Special::WarpId => self.id,
                            Special::LaneMask(which) => {
                                let bit = 1u32 << lane;
                                match which {
                                    Lanes::Eq => bit,
                                    Lanes::Lt => bit - 1,
                                    Lanes::Le => bit | (bit - 1),
                                    Lanes::Ge => !(bit - 1),
                                    Lanes::Gt => !(bit | (bit - 1)),
                                }
                            }
                            other => special(*other, first + lane as u32),
                        });
                    }
                }
                RowKind::Register { .. } | RowKind::Symbol(_) | RowKind::Sink => {}
            }
        }
        self.pred_init.fill(0);
        self.current = Group { pc: 0, mask: self.live };
        self.ready.clear();
        self.waiting.clear();
        self.next = u32::MAX;
        self.copies.clear();
        self.committed = [0; LANES];
    }

    pub(crate) fn runnable(&self) -> bool {
        self.current.mask != 0 || !self.ready.is_empty()
    }

    /// The instruction and lanes of the group that ran last, or waits first.
    pub(crate) fn place(&self) -> (u32, u32) {
        let group = match self.waiting.first() {
            Some((g, _)) if self.current.mask == 0 => Group { pc: g.pc - 1, mask: g.mask },
            _ => self.current,
        };
        (group.pc, group.mask)
    }

    /// Lets the groups behind a barrier go on.
    pub(crate) fn release(&mut self, barrier: u32) {
        let ready = &mut self.ready;
        self.waiting.retain(|(g, id)| {
            if *id == barrier {
                ready.push(*g);
            }
            *id != barrier
        });
        self.regroup();
    }

    /// Chooses the group that is least far, merged with all that are at the same place.
    fn regroup(&mut self) {
        if self.current.mask != 0 {
            self.ready.push(self.current);
        }
        self.current = Group { pc: 0, mask: 0 };
        if let Some(pc) = self.ready.iter().map(|g| g.pc).min() {
            let mask = self.ready.iter().filter(|g| g.pc == pc).fold(0, |m, g| m | g.mask);
            self.ready.retain(|g| g.pc != pc);
            self.current = Group { pc, mask };
        }
        self.next = self.ready.iter().map(|g| g.pc).min().unwrap_or(u32::MAX);
    }

    /// Runs up to `turns` instructions.
    pub(crate) fn run(&mut self, cx: &mut Context, turns: u32) -> Result<Event, Trap> {
        let entry = cx.entry;
        for _ in 0..turns {
            if self.current.mask == 0 || self.current.pc >= self.next {
                self.regroup();
                if self.current.mask == 0 {
                    return Ok(Event::Idle);
                }
            }
            let Group { pc, mask } = self.current;
            let instr = &entry.code[pc as usize];
            cx.stats.instructions += 1;
            if cx.budget == 0 {
                return Err(Trap::new(FaultKind::Budget, mask.trailing_zeros(), "the launch executes too much"));
            }
            cx.budget -= 1;
            let active = match instr.guard {
                None => mask,
                Some((p, negate)) => {
                    let v = self.pred(p, mask, entry)?;
                    mask & if negate { !v } else { v }
                }
            };
            if active == 0 {
                self.current.pc += 1;
                continue;
            }
            match &instr.op {
                Op::Bra { target } => {
                    if active == mask {
                        self.current.pc = *target;
                    } else {
                        self.ready.push(Group { pc: *target, mask: active });
                        self.ready.push(Group { pc: pc + 1, mask: mask & !active });
                        self.current.mask = 0;
                    }
                }
                Op::Exit => {
                    self.live &= !active;
                    self.current = Group { pc: pc + 1, mask: mask & !active };
                    return Ok(Event::Exited);
                }
                Op::Bar { id, count, wait, aligned } => {
                    let lane = active.trailing_zeros();
                    let id = self.uniform(*id, active, entry, "the number of the barrier")?;
                    let count = match count {
                        Some(c) => Some(self.uniform(*c, active, entry, "the number of threads")? as u32),
                        None => None,
                    };
                    if *aligned && active != self.live {
                        let message = format!(
                            "lanes {active:#010x} come to an aligned barrier, {:#010x} of their warp are alive",
                            self.live
                        );
                        return Err(Trap::new(FaultKind::Divergence, lane, message));
                    }
                    if id > 15 || count.is_some_and(|c| c == 0 || c % 32 != 0 || c > 1024) {
                        return Err(Trap::new(
                            FaultKind::BadOperand,
                            lane,
                            format!("barrier {id} of {count:?} threads"),
                        ));
                    }
                    let group = Group { pc: pc + 1, mask: active };
                    if *wait {
                        self.waiting.push((group, id as u32));
                        self.current = Group { pc: pc + 1, mask: mask & !active };
                    } else {
                        self.current.pc += 1;
                    }
                    let lanes = if *aligned && count.is_some() { LANES as u32 } else { active.count_ones() };
                    return Ok(Event::Barrier { id: id as u32, count, wait: *wait, lanes });
                }
                op => {
                    self.execute(op, active, cx)?;
                    self.current.pc += 1;
                }
            }
        }
        Ok(Event::Turn)
    }

    /// The row of a source, of which all active lanes must have been written.
    fn source(&self, r: Reg, mask: u32, entry: &Entry) -> Result<&Row, Trap> {
        let missing = mask & !self.init[r as usize];
        if missing == 0 {
            return Ok(&self.rows[r as usize]);
        }
        let name = match &entry.rows[r as usize] {
            RowKind::Register { name } => name,
            _ => "_",
        };
        Err(Trap::new(FaultKind::Uninitialised, missing.trailing_zeros(), format!("register {name}")))
    }

    fn pred(&self, p: Pred, mask: u32, entry: &Entry) -> Result<u32, Trap> {
        let missing = mask & !self.pred_init[p as usize];
        if missing == 0 {
            return Ok(self.preds[p as usize]);
        }
        let message = format!("predicate {}", entry.preds[p as usize]);
        Err(Trap::new(FaultKind::Uninitialised, missing.trailing_zeros(), message))
    }

    /// A value that must be the same in all active lanes.
    fn uniform(&self, r: Reg, mask: u32, entry: &Entry, what: &str) -> Result<u64, Trap> {
        let row = self.source(r, mask, entry)?;
        let first = row[mask.trailing_zeros() as usize];
        match lanes(mask).find(|l| row[*l] != first) {
            None => Ok(first),
            Some(l) => Err(Trap::new(FaultKind::Divergence, l as u32, format!("{what} differs between lanes"))),
        }
    }

    fn store(&mut self, d: Reg, mask: u32, row: &Row) {
        let to = &mut self.rows[d as usize];
        if mask == !0 {
            *to = *row;
        } else {
            for (l, (t, v)) in to.iter_mut().zip(row).enumerate() {
                if mask >> l & 1 == 1 {
                    *t = *v;
                }
            }
        }
        self.init[d as usize] |= mask;
    }

    fn store_pred(&mut self, d: Pred, mask: u32, value: u32) {
        let p = &mut self.preds[d as usize];
        *p = *p & !mask | value & mask;
        self.pred_init[d as usize] |= mask;
    }

    fn execute(&mut self, op: &Op, mask: u32, cx: &mut Context) -> Result<(), Trap> {
        let entry = cx.entry;
        let mut out = self.one;
        match op {
            Op::Row1 { f, d, a } => {
                f(self.source(*a, mask, entry)?, &mut out);
                self.store(*d, mask, &out);
            }
            Op::Row2 { f, d, a, b } => {
                f(self.source(*a, mask, entry)?, self.source(*b, mask, entry)?, &mut out);
                self.store(*d, mask, &out);
            }
            Op::Row3 { f, d, a, b, c } => {
                let (a, b) = (self.source(*a, mask, entry)?, self.source(*b, mask, entry)?);
                f(a, b, self.source(*c, mask, entry)?, &mut out);
                self.store(*d, mask, &out);
            }
            Op::Divide { f, d, a, b } => {
                let (a, b) = (self.source(*a, mask, entry)?, self.source(*b, mask, entry)?);
                if let Some(lane) = lanes(mask).find(|l| b[*l] == 0) {
                    return Err(Trap::new(FaultKind::DivisionByZero, lane as u32, format!("{} by zero", a[lane])));
                }
                f(a, b, &mut out);
                self.store(*d, mask, &out);
            }
            Op::Bfi { bits, d, a, b, c, len } => {
                let (a, b) = (self.source(*a, mask, entry)?, self.source(*b, mask, entry)?);
                let (c, len) = (self.source(*c, mask, entry)?, self.source(*len, mask, entry)?);
                for l in 0..LANES {
                    let (pos, n) = ((c[l] & 0xff) as u32, (len[l] & 0xff) as u32);
                    let field = if pos < *bits { ones(n) << pos & ones(*bits) } else { 0 };
                    out[l] = b[l] & !field | (if pos < *bits { a[l] << pos } else { 0 }) & field;
                }
                self.store(*d, mask, &out);
            }
            Op::Lop3 { table, d, a, b, c } => {
                let (a, b) = (self.source(*a, mask, entry)?, self.source(*b, mask, entry)?);
                let c = self.source(*c, mask, entry)?;
                for l in 0..LANES {
                    out[l] = (0..8).filter(|i| table >> i & 1 == 1).fold(0, |acc, i| {
                        let pick = |v: u64, bit: u32| if i >> bit & 1 == 1 { v } else { !v & 0xffff_ffff };
                        acc | pick(a[l], 2) & pick(b[l], 1) & pick(c[l], 0)
                    });
                }
                self.store(*d, mask, &out);
            }
            Op::Convert { spec, d, a } => {
                let a = self.source(*a, mask, entry)?;
                for l in lanes(mask) {
                    out[l] = convert(a[l], spec);
                }
                self.store(*d, mask, &out);
            }
            Op::ConvertPair { spec, d, a, b } => {
                let (a, b) = (self.source(*a, mask, entry)?, self.source(*b, mask, entry)?);
                for l in lanes(mask) {
                    out[l] = convert(a[l], spec) << 16 | convert(b[l], spec);
                }
                self.store(*d, mask, &out);
            }
            Op::Pack { d, parts, n, bits } => {
                for (i, p) in parts.iter().take(*n).enumerate() {
                    let row = self.source(*p, mask, entry)?;
                    for l in 0..LANES {
                        out[l] |= (row[l] & ones(*bits)) << (i as u32 * bits);
                    }
                }
                self.store(*d, mask, &out);
            }
            Op::Unpack { parts, n, bits, a } => {
                let row = *self.source(*a, mask, entry)?;
                for (i, p) in parts.iter().take(*n).enumerate() {
                    self.store(*p, mask, &row.map(|v| v >> (i as u32 * bits) & ones(*bits)));
                }
            }
            Op::MovPred { d, a, negate } => {
                let v = self.pred(*a, mask, entry)?;
                self.store_pred(*d, mask, if *negate { !v } else { v });
            }
            Op::SetPred { d, value } => self.store_pred(*d, mask, if *value { !0 } else { 0 }),
            Op::BoolPred { op, d, a, b } => {
                let (a, b) = (self.pred(*a, mask, entry)?, self.pred(*b, mask, entry)?);
                self.store_pred(*d, mask, boolean(*op, a, b));
            }
            Op::Setp { f, d, complement, a, b, combine } => {
                let v = f(self.source(*a, mask, entry)?, self.source(*b, mask, entry)?);
                let with = match combine {
                    Combine::None => None,
                    Combine::With(op, p, negate) => {
                        let p = self.pred(*p, mask, entry)?;
                        Some((*op, if *negate { !p } else { p }))
                    }
                };
                let apply = |v: u32| with.map_or(v, |(op, p)| boolean(op, v, p));
                self.store_pred(*d, mask, apply(v));
                if let Some(q) = complement {
                    self.store_pred(*q, mask, apply(!v));
                }
            }
            Op::Set { f, float, d, a, b } => {
                let v = f(self.source(*a, mask, entry)?, self.source(*b, mask, entry)?);
                let yes = if *float { u64::from(1f32.to_bits()) } else { 0xffff_ffff };
                for (l, o) in out.iter_mut().enumerate() {
                    *o = if v >> l & 1 == 1 { yes } else { 0 };
                }
                self.store(*d, mask, &out);
            }
            Op::Selp { d, a, b, p, negate } => {
                let p = self.pred(*p, mask, entry)? ^ if *negate { !0 } else { 0 };
                // Both sides must have been written where they are chosen; the other may be anything.
                let (a, b) = (self.source(*a, mask & p, entry)?, self.source(*b, mask & !p, entry)?);
                for l in 0..LANES {
                    out[l] = if p >> l & 1 == 1 { a[l] } else { b[l] };
                }
                self.store(*d, mask, &out);
            }
            Op::ToGeneric { d, a, window } => {
                let row = self.source(*a, mask, entry)?.map(|v| v.wrapping_add(*window));
                self.store(*d, mask, &row);
            }
            Op::FromGeneric { d, a, space } => {
                let row = *self.source(*a, mask, entry)?;
                let mut to = row;
                for l in lanes(mask) {
                    let (found, address) = window(row[l]);
                    if found != *space {
                        let message = format!("{:#x} is not in {space:?} memory", row[l]);
                        return Err(Trap::new(FaultKind::OutOfBounds, l as u32, message));
                    }
                    to[l] = address;
                }
                self.store(*d, mask, &to);
            }
            Op::IsSpace { d, a, space } => {
                let row = self.source(*a, mask, entry)?;
                let v = (0..LANES).fold(0, |m, l| m | u32::from(window(row[l]).0 == *space) << l);
                self.store_pred(*d, mask, v);
            }
            Op::Nop => {}
            Op::Trap => {
                return Err(Trap::new(FaultKind::BadOperand, mask.trailing_zeros(), "the kernel executes trap"));
            }
            Op::Fence { global } => {
                if *global {
                    cx.global.fence();
                }
            }
            Op::LdParam { .. } | Op::Ld { .. } | Op::St { .. } | Op::Atomic { .. } => self.memory(op, mask, cx)?,
            Op::LdMatrix { .. } | Op::StMatrix { .. } | Op::Mma(_) => self.matrix(op, mask, cx)?,
            Op::CpAsync { .. } | Op::CpCommit | Op::CpWait { .. } | Op::CpWaitAll => self.copies(op, mask, cx)?,
            Op::WarpSync { .. }
            | Op::Shuffle { .. }
            | Op::VotePred { .. }
            | Op::Ballot { .. }
            | Op::ActiveMask { .. }
            | Op::Redux { .. } => self.together(op, mask, cx)?,
            // `run` takes these itself.
            Op::Bra { .. } | Op::Exit | Op::Bar { .. } => {}
        }
        Ok(())
    }
}

fn boolean(op: Bool, a: u32, b: u32) -> u32 {
    match op {
        Bool::And => a & b,
        Bool::Or => a | b,
        Bool::Xor => a ^ b,
    }
}

/// The space of a generic address, and the address in it.
fn window(address: u64) -> (Space, u64) {
    let of = |start: u64, base: u64| (start..start + base + (1 << 24)).contains(&address);
    if of(SHARED_WINDOW, SHARED_BASE) {
        (Space::Shared, address - SHARED_WINDOW)
    } else if of(LOCAL_WINDOW, LOCAL_BASE) {
        (Space::Local, address - LOCAL_WINDOW)
    } else {
        (Space::Global, address)
    }
}
