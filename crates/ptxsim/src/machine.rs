//! Runs a launch: block after block in an order drawn from the seed, and within a block turns of its warps, drawn likewise.

use crate::error::{Fault, FaultKind, Trap};
use crate::exec::{Context, Event, Stats, Warp, lanes};
use crate::global::Global;
use crate::isa::{Instr, LANES, Special};
use crate::parse::Entry;
use crate::shared::{Joined, Shared, WARPS};
use crate::{Delivery, Options};

/// Threads that a block can have.
const MAX_THREADS: u64 = 1024;
/// Static shared memory that every device has.
const MAX_STATIC_SHARED: usize = 48 << 10;
/// Most instructions a warp runs before another has its turn.
const LONGEST_TURN: u64 = 400;

/// A small generator of numbers: splitmix64. Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }
}

/// What a launch is made of.
pub(crate) struct Launch<'a> {
    pub entry: &'a Entry,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub shared: usize,
    pub params: &'a [u8],
}

impl Launch<'_> {
    fn refuse(&self, message: String) -> Fault {
        let entry = self.entry.name.clone();
        Fault { kind: FaultKind::Launch, entry, line: 0, block: [0; 3], thread: [0; 3], message }
    }

    fn check(&self, options: &Options) -> Result<(u32, u32), Fault> {
        let (grid, block, entry) = (self.grid, self.block, self.entry);
        let product = |v: [u32; 3]| v.iter().fold(1u64, |p, n| p.saturating_mul(u64::from(*n)));
        let threads = product(block);
        if threads == 0 || threads > MAX_THREADS || block[2] > 64 {
            return Err(self.refuse(format!("a block of {block:?} threads")));
        }
        if entry.reqntid.is_some_and(|r| r != block) {
            return Err(self.refuse(format!("a block of {block:?} threads, .reqntid is {:?}", entry.reqntid)));
        }
        if entry.maxntid.is_some_and(|m| threads > product(m)) {
            return Err(self.refuse(format!("a block of {block:?} threads, .maxntid is {:?}", entry.maxntid)));
        }
        let blocks = product(grid);
        if blocks == 0 || blocks > 1 << 30 || grid[0] > i32::MAX as u32 || grid[1] > 65535 || grid[2] > 65535 {
            return Err(self.refuse(format!("a grid of {grid:?} blocks")));
        }
        if self.params.len() != entry.param_bytes() {
            let (got, want) = (self.params.len(), entry.param_bytes());
            return Err(self.refuse(format!("{got} bytes of parameters, the entry takes {want}")));
        }
        if entry.shared_bytes > MAX_STATIC_SHARED {
            return Err(self.refuse(format!("{} bytes of static shared memory", entry.shared_bytes)));
        }
        if self.shared_bytes() > options.shared_limit {
            let (need, have) = (self.shared_bytes(), options.shared_limit);
            return Err(self.refuse(format!("{need} bytes of shared memory, a block has {have}")));
        }
        Ok((threads as u32, blocks as u32))
    }

    /// Static and dynamic shared memory, with what alignment needs between them.
    fn shared_bytes(&self) -> usize {
        if self.shared == 0 {
            return self.entry.shared_bytes;
        }
        (self.entry.dynamic_shared - crate::decode::SHARED_BASE) as usize + self.shared
    }

    pub(crate) fn run(&self, global: &mut Global, options: &Options, seed: u64) -> Result<Stats, Fault> {
        let (threads, blocks) = self.check(options)?;
        let count = threads.div_ceil(LANES as u32);
        let mut cx = Context {
            entry: self.entry,
            params: self.params,
            global,
            shared: Shared::new(self.shared_bytes(), count as usize, options.lane_races),
            local: vec![vec![(0, false); self.entry.local_bytes]; threads as usize],
            eager: options.delivery == Delivery::Eager,
            stats: Stats::default(),
            budget: options.budget,
        };
        let mut warps: Vec<Warp> = (0..count).map(|id| Warp::new(id, self.entry)).collect();
        let mut random = Random(seed);
        let mut order: Vec<u32> = (0..blocks).collect();
        for i in (1..order.len()).rev() {
            order.swap(i, random.below(i as u64 + 1) as usize);
        }
        cx.global.begin_launch(blocks);
        let mut result = Ok(());
        for block in order {
            result = self.block(block, threads, &mut cx, &mut warps, &mut random);
            if result.is_err() {
                break;
            }
        }
        cx.global.end_launch();
        result.map(|()| cx.stats)
    }

    fn block(
        &self,
        number: u32,
        threads: u32,
        cx: &mut Context,
        warps: &mut [Warp],
        random: &mut Random,
    ) -> Result<(), Fault> {
        let at = [
            number % self.grid[0],
            number / self.grid[0] % self.grid[1],
            (u64::from(number) / (u64::from(self.grid[0]) * u64::from(self.grid[1]))) as u32,
        ];
        let warp_count = warps.len() as u32;
        let special = |s: Special, thread: u32| match s {
            Special::Tid(axis) => self.thread(thread)[axis],
            Special::Ntid(axis) => self.block[axis],
            Special::Ctaid(axis) => at[axis],
            Special::Nctaid(axis) => self.grid[axis],
            Special::NwarpId => warp_count,
            Special::DynamicShared => self.shared as u32,
            Special::TotalShared => self.shared_bytes() as u32,
            Special::LaneId | Special::WarpId | Special::LaneMask(_) => 0,
        };
        cx.shared.reset();
        cx.local.iter_mut().for_each(|t| t.fill((0, false)));
        cx.global.begin_block(number);
        cx.stats.blocks += 1;
        for warp in warps.iter_mut() {
            warp.start(self.entry, threads, special);
        }
        let mut barriers = Barriers::default();
        loop {
            let runnable = warps.iter().filter(|w| w.runnable()).count() as u64;
            if runnable == 0 {
                let Some(stuck) = warps.iter().find(|w| w.live != 0) else { return Ok(()) };
                let message = format!("{} of its lanes wait for ever", stuck.live.count_ones());
                let trap = Trap::new(FaultKind::Deadlock, stuck.live.trailing_zeros(), message);
                return Err(self.fault(trap, stuck, at));
            }
            let chosen = random.below(runnable) as usize;
            let turns = 1 + random.below(LONGEST_TURN) as u32;
            let Some(w) = (0..warps.len()).filter(|w| warps[*w].runnable()).nth(chosen) else { return Ok(()) };
            let outcome = warps[w].run(cx, turns);
            let outcome = outcome.and_then(|event| match event {
                Event::Turn | Event::Idle => Ok(()),
                Event::Exited => {
                    barriers.settle(warps, &mut cx.shared);
                    Ok(())
                }
                Event::Barrier { id, count, wait, lanes } => {
                    barriers.arrive(id, count, wait, lanes, w, &mut cx.shared)?;
                    barriers.settle(warps, &mut cx.shared);
                    Ok(())
                }
            });
            if let Err(trap) = outcome {
                return Err(self.fault(trap, &warps[w], at));
            }
        }
    }

    fn thread(&self, number: u32) -> [u32; 3] {
        let [x, y, _] = self.block;
        [number % x, number / x % y, number / x / y]
    }

    fn fault(&self, trap: Trap, warp: &Warp, block: [u32; 3]) -> Fault {
        let (pc, _) = warp.place();
        let line = self.entry.code.get(pc as usize).map_or(0, |i: &Instr| i.line);
        let thread = self.thread(warp.id * LANES as u32 + trap.lane.min(31));
        Fault { kind: trap.kind, entry: self.entry.name.clone(), line, block, thread, message: trap.message }
    }
}

/// The sixteen barriers of a block.
#[derive(Default)]
struct Barriers {
    all: [Barrier; 16],
}

#[derive(Clone, Copy, Default)]
struct Barrier {
    /// Threads that came since it was last full.
    arrived: u32,
    /// How many it needs, if the instruction says so.
    count: Option<u32>,
    /// Warps of which threads wait.
    waiting: u32,
    joined: Joined,
}

const _: () = assert!(WARPS == 32, "masks of warps have 32 bits");

impl Barriers {
    fn arrive(
        &mut self,
        id: u32,
        count: Option<u32>,
        wait: bool,
        threads: u32,
        warp: usize,
        shared: &mut Shared,
    ) -> Result<(), Trap> {
        let b = &mut self.all[id as usize];
        if b.arrived > 0 && b.count != count {
            let message = format!("barrier {id} of {count:?} threads, others came to it with {:?}", b.count);
            return Err(Trap::new(FaultKind::BadOperand, 0, message));
        }
        (b.arrived, b.count) = (b.arrived + threads, count);
        if wait {
            b.waiting |= 1 << warp;
        }
        if count.is_some_and(|c| b.arrived > c) {
            let message = format!("{} threads come to barrier {id} of {count:?}", b.arrived);
            return Err(Trap::new(FaultKind::BadOperand, 0, message));
        }
        shared.arrive(warp, &mut b.joined);
        Ok(())
    }

    /// Opens the barriers that are full. One without a number is full when all threads that live have come.
    fn settle(&mut self, warps: &mut [Warp], shared: &mut Shared) {
        let live: u32 = warps.iter().map(|w| w.live.count_ones()).sum();
        for (id, b) in self.all.iter_mut().enumerate() {
            if b.arrived == 0 || b.arrived < b.count.unwrap_or(live) {
                continue;
            }
            for w in lanes(b.waiting) {
                shared.leave(w, &b.joined);
                warps[w].release(id as u32);
            }
            *b = Barrier::default();
        }
    }
}
