//! Global memory: allocations with gaps between them, which bytes were written, and which block touched what in a launch.
//!
//! Blocks of a launch run one after the other here, in an order that hardware is free to choose. So two blocks may touch the
//! same bytes with at least one of them writing only if both do so atomically, or if the first *released* what it wrote (a
//! fence, then an atomic) before the second *acquired* it (an atomic, then a fence).

use crate::error::{DeviceError, FaultKind, Trap};

/// Distance between the end of an allocation and the next: an index wrong by a row or so hits nothing.
const GAP: u64 = 4096;
const ALIGN: u64 = 512;
const FIRST: u64 = 0x10_0000_0000;

struct Allocation {
    base: u64,
    data: Vec<u8>,
    init: Vec<bool>,
    /// Bytes of one shadow entry as a power of two: 2 until something smaller than a word is touched.
    shift: u32,
    /// Per entry: who wrote and who read last. Empty until a kernel touches the allocation.
    writer: Vec<u32>,
    reader: Vec<u32>,
}

/// All of it, and the state of the launch that runs.
pub(crate) struct Global {
    allocations: Vec<Allocation>,
    next: u64,
    used: u64,
    limit: u64,
    last: usize,
    launch: Launch,
}

/// Who is who among the blocks of a launch. Block `i` writes as `base + 2i`, atomically as `base + 2i + 1`; what is below
/// `base` in the shadow is from earlier launches and ordered before this one.
#[derive(Default)]
struct Launch {
    base: u32,
    many: u32,
    block: u32,
    released: Vec<bool>,
    fenced: bool,
    atomic: bool,
    acquired: bool,
}

impl Launch {
    fn id(&self) -> u32 {
        self.base + 2 * self.block
    }

    /// The other block, if entry `id` stands for one whose access is not ordered before now.
    fn other(&self, id: u32) -> Option<u32> {
        if id < self.base || id & !1 == self.id() {
            return None;
        }
        let block = (id - self.base) / 2;
        let ordered = self.acquired && self.released.get(block as usize).copied().unwrap_or(true);
        (!ordered).then_some(block)
    }
}

impl Allocation {
    fn ready(&mut self, len: usize) {
        if self.writer.is_empty() {
            let entries = self.data.len().div_ceil(1 << self.shift);
            (self.writer, self.reader) = (vec![0; entries], vec![0; entries]);
        }
        if len < 4 && self.shift == 2 {
            let spread = |v: &[u32]| v.iter().flat_map(|e| [*e; 4]).take(self.data.len()).collect::<Vec<u32>>();
            (self.writer, self.reader) = (spread(&self.writer), spread(&self.reader));
            self.shift = 0;
        }
    }
}

impl Global {
    pub(crate) fn new(limit: u64) -> Global {
        Global {
            allocations: vec![],
            next: FIRST,
            used: 0,
            limit,
            last: 0,
            launch: Launch { base: 2, ..Launch::default() },
        }
    }

    pub(crate) fn used(&self) -> u64 {
        self.used
    }

    pub(crate) fn alloc(&mut self, bytes: usize) -> Result<u64, DeviceError> {
        if bytes as u64 > self.limit - self.used {
            return Err(DeviceError::OutOfMemory { asked: bytes as u64, free: self.limit - self.used });
        }
        let base = self.next;
        self.next = (base + bytes as u64 + GAP).next_multiple_of(ALIGN);
        self.used += bytes as u64;
        self.allocations.push(Allocation {
            base,
            data: vec![0xcd; bytes],
            init: vec![false; bytes],
            shift: 2,
            writer: vec![],
            reader: vec![],
        });
        Ok(base)
    }

    pub(crate) fn free(&mut self, address: u64) -> Result<(), DeviceError> {
        let found = self.allocations.binary_search_by_key(&address, |a| a.base);
        let at = found.map_err(|_| DeviceError::NotAllocated { address })?;
        self.used -= self.allocations[at].data.len() as u64;
        self.allocations.remove(at);
        self.last = 0;
        Ok(())
    }

    fn locate(&mut self, address: u64, len: usize) -> Option<(usize, usize)> {
        let inside = |a: &Allocation| {
            let at = address.checked_sub(a.base)?;
            (at.checked_add(len as u64)? <= a.data.len() as u64).then_some(at as usize)
        };
        if let Some(at) = self.allocations.get(self.last).and_then(inside) {
            return Some((self.last, at));
        }
        let after = self.allocations.partition_point(|a| a.base <= address);
        let at = inside(self.allocations.get(after.checked_sub(1)?)?)?;
        self.last = after - 1;
        Some((self.last, at))
    }

    /// The host's view of bytes.
    pub(crate) fn host(&mut self, address: u64, len: usize) -> Result<(&mut [u8], &mut [bool]), DeviceError> {
        let (i, at) = self.locate(address, len).ok_or(DeviceError::Range { address, len })?;
        let a = &mut self.allocations[i];
        Ok((&mut a.data[at..at + len], &mut a.init[at..at + len]))
    }

    pub(crate) fn begin_launch(&mut self, blocks: u32) {
        let base = self.launch.many.max(2).next_multiple_of(2);
        let room = u64::from(base) + 2 * u64::from(blocks) + 4 < u64::from(u32::MAX);
        if !room {
            for a in &mut self.allocations {
                (a.writer, a.reader) = (vec![], vec![]);
            }
        }
        let base = if room { base } else { 2 };
        let many = base + 2 * blocks;
        self.launch = Launch { base, many, released: vec![false; blocks as usize], ..Launch::default() };
    }

    pub(crate) fn end_launch(&mut self) {
        self.launch.many += 2;
        self.launch.base = self.launch.many;
    }

    pub(crate) fn begin_block(&mut self, block: u32) {
        let l = &mut self.launch;
        (l.block, l.fenced, l.atomic, l.acquired) = (block, false, false, false);
    }

    pub(crate) fn fence(&mut self) {
        self.launch.fenced = true;
        self.launch.acquired |= self.launch.atomic;
    }

    /// The order that an atomic, or an access that says so, gives.
    pub(crate) fn synchronise(&mut self, release: bool, acquire: bool) {
        let l = &mut self.launch;
        if l.fenced || release {
            l.released[l.block as usize] = true;
        }
        l.atomic = true;
        l.acquired |= acquire;
    }

    fn outside(&self, address: u64, len: usize, lane: u32) -> Trap {
        let after = self.allocations.partition_point(|a| a.base <= address);
        let near = match after.checked_sub(1).map(|i| &self.allocations[i]) {
            Some(a) => {
                let (at, size) = (address - a.base, a.data.len());
                format!("byte {at} of the allocation of {size} bytes at {:#x}", a.base)
            }
            None => "below every allocation".to_string(),
        };
        Trap::new(FaultKind::OutOfBounds, lane, format!("{len} bytes of global memory at {address:#x}: {near}"))
    }

    fn aligned(&mut self, address: u64, len: usize, lane: u32) -> Result<(usize, usize), Trap> {
        if !address.is_multiple_of(len as u64) {
            let message = format!("{len} bytes of global memory at {address:#x}");
            return Err(Trap::new(FaultKind::Misaligned, lane, message));
        }
        match self.locate(address, len) {
            Some(found) => Ok(found),
            None => Err(self.outside(address, len, lane)),
        }
    }

    fn race(&self, address: u64, lane: u32, what: &str, other: u32) -> Trap {
        let message = if other >= self.launch.released.len() as u32 {
            format!("{what} {address:#x}, several other blocks")
        } else {
            format!("{what} {address:#x}, block number {other}")
        };
        Trap::new(FaultKind::GlobalRace, lane, message)
    }

    /// A load of `len` bytes, a power of two up to 16.
    pub(crate) fn read(&mut self, address: u64, len: usize, lane: u32, out: &mut [u8; 16]) -> Result<(), Trap> {
        let (i, at) = self.aligned(address, len, lane)?;
        let a = &mut self.allocations[i];
        if let Some(k) = a.init[at..at + len].iter().position(|b| !b) {
            let message = format!("byte {} of the allocation at {:#x}", at + k, a.base);
            return Err(Trap::new(FaultKind::Uninitialised, lane, message));
        }
        out[..len].copy_from_slice(&a.data[at..at + len]);
        a.ready(len);
        let (id, mut found) = (self.launch.id(), None);
        for e in at >> a.shift..(at + len).div_ceil(1 << a.shift) {
            if a.writer[e] & !1 != id {
                found = found.or(self.launch.other(a.writer[e]));
            }
            let r = &mut a.reader[e];
            *r = if *r < self.launch.base || *r == id { id } else { self.launch.many };
        }
        match found {
            Some(other) => Err(self.race(address, lane, "reads what another block writes:", other)),
            None => Ok(()),
        }
    }

    /// Whether any block of this launch wrote here so far. The bytes must have been read before.
    pub(crate) fn written_now(&mut self, address: u64, len: usize) -> bool {
        let Some((i, at)) = self.locate(address, len) else { return false };
        let a = &self.allocations[i];
        a.writer[at >> a.shift..(at + len).div_ceil(1 << a.shift)].iter().any(|w| *w >= self.launch.base)
    }

    /// Checks a write and records it, without writing: the caller does so for all lanes first.
    pub(crate) fn claim(&mut self, address: u64, len: usize, lane: u32, atomic: bool) -> Result<(), Trap> {
        let (i, at) = self.aligned(address, len, lane)?;
        let a = &mut self.allocations[i];
        a.ready(len);
        let (id, mut found) = (self.launch.id(), None);
        for e in at >> a.shift..(at + len).div_ceil(1 << a.shift) {
            let both_atomic = atomic && a.writer[e] & 1 == 1;
            if !both_atomic {
                found = found.or(self.launch.other(a.writer[e]));
            }
            found = found.or(self.launch.other(a.reader[e]));
            a.writer[e] = id | u32::from(atomic);
        }
        if let Some(other) = found {
            return Err(self.race(address, lane, "writes what another block reads or writes:", other));
        }
        if !atomic {
            let l = &mut self.launch;
            l.released[l.block as usize] = false;
            l.fenced = false;
        }
        Ok(())
    }

    /// Writes what was claimed.
    pub(crate) fn write(&mut self, address: u64, bytes: &[u8]) {
        if let Some((i, at)) = self.locate(address, bytes.len()) {
            let a = &mut self.allocations[i];
            a.data[at..at + bytes.len()].copy_from_slice(bytes);
            a.init[at..at + bytes.len()].fill(true);
        }
    }

    /// The bytes at a place that was claimed; those of an atomic must have been written before.
    pub(crate) fn peek(&mut self, address: u64, len: usize, lane: u32, out: &mut [u8; 16]) -> Result<(), Trap> {
        let Some((i, at)) = self.locate(address, len) else {
            return Err(self.outside(address, len, lane));
        };
        let a = &self.allocations[i];
        if a.init[at..at + len].contains(&false) {
            let message = format!("byte {at} of the allocation at {:#x}", a.base);
            return Err(Trap::new(FaultKind::Uninitialised, lane, message));
        }
        out[..len].copy_from_slice(&a.data[at..at + len]);
        Ok(())
    }
}
