//! Shared memory of a block: its bytes, whether they were written, and which threads touched them since when.
//!
//! Order between threads is tracked per warp. Each warp has a time that moves on at every barrier it meets, and knows up to
//! which time the accesses of every other warp are ordered before its own. An access that is not ordered after an earlier
//! conflicting one is a race, whether or not the values came out right in this run. Threads of one warp are ordered by
//! barriers too, and by `bar.warp.sync`: that a warp runs in step is not something PTX promises.

use crate::decode::SHARED_BASE;
use crate::error::{FaultKind, Trap};

/// Warps that a block can have.
pub(crate) const WARPS: usize = 32;
/// In the shadow of writes: the writer was atomic.
const ATOMIC: u64 = 1 << 15;
/// In the shadow of reads: several lanes of the warp.
const SEVERAL: u64 = 0xff;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Unwritten,
    Written,
    /// An asynchronous copy will write it.
    Pending,
}

pub(crate) struct Shared {
    data: Vec<u8>,
    state: Vec<State>,
    shift: u32,
    /// Per entry: time << 16 | thread of the last write.
    writes: Vec<u64>,
    /// Per entry and warp: time << 8 | lane of the last read.
    reads: Vec<u64>,
    /// Per entry: time of the last read by any warp.
    last_read: Vec<u64>,
    warps: usize,
    now: u64,
    /// Time of each warp.
    own: [u64; WARPS],
    /// Per warp: up to which time each other is ordered before it.
    seen: Vec<[u64; WARPS]>,
    lanes_race: bool,
}

/// What a barrier has gathered: up to which time each warp is ordered before those that leave it.
pub(crate) type Joined = [u64; WARPS];

impl Shared {
    pub(crate) fn new(bytes: usize, warps: usize, lanes_race: bool) -> Shared {
        let entries = bytes.div_ceil(4);
        Shared {
            data: vec![0xcd; bytes],
            state: vec![State::Unwritten; bytes],
            shift: 2,
            writes: vec![0; entries],
            reads: vec![0; entries * warps],
            last_read: vec![0; entries],
            warps,
            now: 0,
            own: [0; WARPS],
            seen: vec![[0; WARPS]; warps],
            lanes_race,
        }
    }

    /// A new block: nothing is written, and everything earlier is ordered before.
    pub(crate) fn reset(&mut self) {
        self.state.fill(State::Unwritten);
        self.now += 1;
        for seen in &mut self.seen {
            seen.fill(self.now);
        }
        self.now += 1;
        self.own.fill(self.now);
    }

    /// The warp's threads are ordered among themselves.
    pub(crate) fn tick(&mut self, warp: usize) {
        self.now += 1;
        self.own[warp] = self.now;
    }

    /// The warp comes to a barrier.
    pub(crate) fn arrive(&mut self, warp: usize, joined: &mut Joined) {
        for (j, s) in joined.iter_mut().zip(&self.seen[warp]) {
            *j = (*j).max(*s);
        }
        joined[warp] = joined[warp].max(self.own[warp]);
        self.tick(warp);
    }

    /// The warp leaves a barrier.
    pub(crate) fn leave(&mut self, warp: usize, joined: &Joined) {
        for (s, j) in self.seen[warp].iter_mut().zip(joined) {
            *s = (*s).max(*j);
        }
        self.tick(warp);
    }

    fn locate(&self, address: u64, len: usize, lane: u32) -> Result<usize, Trap> {
        let fault = |kind, message: String| Err(Trap::new(kind, lane, message));
        let at = address.wrapping_sub(SHARED_BASE);
        let size = self.data.len() as u64;
        if at >= size || at + len as u64 > size {
            let at = at as i64;
            return fault(FaultKind::OutOfBounds, format!("{len} bytes at byte {at} of {size} in shared memory"));
        }
        if !address.is_multiple_of(len as u64) {
            return fault(FaultKind::Misaligned, format!("{len} bytes at byte {at} of shared memory"));
        }
        Ok(at as usize)
    }

    /// From here on the shadow has an entry per byte.
    fn refine(&mut self, len: usize) {
        if len >= 4 || self.shift == 0 {
            return;
        }
        let (bytes, warps) = (self.data.len(), self.warps);
        let spread = |v: &[u64]| v.iter().flat_map(|e| [*e; 4]).take(bytes).collect::<Vec<u64>>();
        (self.writes, self.last_read) = (spread(&self.writes), spread(&self.last_read));
        self.reads = (0..bytes).flat_map(|b| self.reads[b / 4 * warps..][..warps].to_vec()).collect();
        self.shift = 0;
    }

    /// The other thread, if the write in entry `e` is not ordered before an access of `thread` now.
    fn unordered_write(&self, e: usize, thread: u32, atomic: bool) -> Option<u32> {
        let entry = self.writes[e];
        let (time, who) = (entry >> 16, entry & 0x7fff);
        if who == u64::from(thread) || (atomic && entry & ATOMIC != 0) {
            return None;
        }
        let (mine, theirs) = (thread as usize / 32, who as usize / 32);
        let race =
            if mine == theirs { self.lanes_race && time == self.own[mine] } else { time > self.seen[mine][theirs] };
        race.then_some(who as u32)
    }

    /// Likewise for reads.
    fn unordered_read(&self, e: usize, thread: u32) -> Option<u32> {
        let (mine, lane) = (thread as usize / 32, u64::from(thread % 32));
        if self.last_read[e] <= self.seen[mine].iter().take(self.warps).copied().min().unwrap_or(0) {
            return None;
        }
        (0..self.warps).find_map(|w| {
            let entry = self.reads[e * self.warps + w];
            let (time, who) = (entry >> 8, entry & 0xff);
            let race = if w == mine {
                self.lanes_race && time == self.own[w] && who != lane
            } else {
                time > self.seen[mine][w]
            };
            race.then_some(w as u32 * 32 + if who == SEVERAL { 0 } else { who as u32 })
        })
    }

    fn race(at: usize, thread: u32, what: &str, other: u32) -> Trap {
        let message = format!("byte {at} of shared memory: thread number {thread} {what} thread number {other}");
        Trap::new(FaultKind::SharedRace, thread % 32, message)
    }

    fn pending(at: usize, thread: u32) -> Trap {
        Trap::new(FaultKind::AsyncPending, thread % 32, format!("byte {at} of shared memory"))
    }

    /// A load of `len` bytes, a power of two up to 16.
    pub(crate) fn read(&mut self, address: u64, len: usize, thread: u32, out: &mut [u8; 16]) -> Result<(), Trap> {
        let at = self.locate(address, len, thread % 32)?;
        self.refine(len);
        let state = &self.state[at..at + len];
        if let Some(k) = state.iter().position(|s| *s != State::Written) {
            if state[k] == State::Pending {
                return Err(Self::pending(at + k, thread));
            }
            let message = format!("byte {} of shared memory", at + k);
            return Err(Trap::new(FaultKind::Uninitialised, thread % 32, message));
        }
        out[..len].copy_from_slice(&self.data[at..at + len]);
        let (warp, lane) = (thread as usize / 32, u64::from(thread % 32));
        for e in at >> self.shift..(at + len).div_ceil(1 << self.shift) {
            if let Some(other) = self.unordered_write(e, thread, false) {
                return Err(Self::race(at, thread, "reads what is written by", other));
            }
            let time = self.own[warp];
            let slot = &mut self.reads[e * self.warps + warp];
            let several = *slot >> 8 == time && *slot & 0xff != lane;
            *slot = time << 8 | if several { SEVERAL } else { lane };
            self.last_read[e] = time.max(self.last_read[e]);
        }
        Ok(())
    }

    /// Checks a write, without writing or recording it.
    pub(crate) fn check(&mut self, address: u64, len: usize, thread: u32, atomic: bool) -> Result<(), Trap> {
        let at = self.locate(address, len, thread % 32)?;
        self.refine(len);
        if let Some(k) = self.state[at..at + len].iter().position(|s| *s == State::Pending) {
            return Err(Self::pending(at + k, thread));
        }
        for e in at >> self.shift..(at + len).div_ceil(1 << self.shift) {
            if let Some(other) = self.unordered_write(e, thread, atomic) {
                return Err(Self::race(at, thread, "writes what is also written by", other));
            }
            if let Some(other) = self.unordered_read(e, thread) {
                return Err(Self::race(at, thread, "writes what is read by", other));
            }
        }
        Ok(())
    }

    fn record(&mut self, at: usize, len: usize, thread: u32, flag: u64) {
        let entry = self.own[thread as usize / 32] << 16 | u64::from(thread) | flag;
        for e in at >> self.shift..(at + len).div_ceil(1 << self.shift) {
            self.writes[e] = entry;
        }
    }

    /// Writes what was checked.
    pub(crate) fn write(&mut self, address: u64, bytes: &[u8], thread: u32, atomic: bool) {
        let at = (address - SHARED_BASE) as usize;
        self.data[at..at + bytes.len()].copy_from_slice(bytes);
        self.state[at..at + bytes.len()].fill(State::Written);
        self.record(at, bytes.len(), thread, if atomic { ATOMIC } else { 0 });
    }

    /// The bytes at a place that was checked; those of an atomic must have been written before.
    pub(crate) fn peek(&self, address: u64, len: usize, thread: u32, out: &mut [u8; 16]) -> Result<(), Trap> {
        let at = self.locate(address, len, thread % 32)?;
        if self.state[at..at + len].contains(&State::Unwritten) {
            return Err(Trap::new(FaultKind::Uninitialised, thread % 32, format!("byte {at} of shared memory")));
        }
        out[..len].copy_from_slice(&self.data[at..at + len]);
        Ok(())
    }

    /// An asynchronous copy to a checked place begins: the bytes belong to it until `write`.
    pub(crate) fn begin_copy(&mut self, address: u64, len: usize, thread: u32) {
        let at = (address - SHARED_BASE) as usize;
        self.state[at..at + len].fill(State::Pending);
        self.record(at, len, thread, 0);
    }
}
