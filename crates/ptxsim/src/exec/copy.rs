//! Asynchronous copies from global to shared memory.
//!
//! By default a copy arrives as late as it may: when the thread that asked for it waits. Until then its bytes can neither be
//! read nor written. `Context::eager` lets it arrive at once, which is what hardware does when it is quick; a kernel must be
//! right both ways.

use super::{Context, Warp, lanes};
use crate::error::{FaultKind, Trap};
use crate::isa::{LANES, Op};

/// One lane's copy that nobody waited for yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Copy {
    lane: u32,
    /// How many groups the lane had committed before the one this belongs to.
    group: u32,
    to: u64,
    len: usize,
    bytes: [u8; 16],
}

impl Warp {
    pub(super) fn copies(&mut self, op: &Op, mask: u32, cx: &mut Context) -> Result<(), Trap> {
        match op {
            Op::CpAsync { bytes, to, from, source_bytes, ignore } => {
                let to_row = *self.source(to.base, mask, cx.entry)?;
                let from_row = *self.source(from.base, mask, cx.entry)?;
                let sizes = match source_bytes {
                    Some(r) => *self.source(*r, mask, cx.entry)?,
                    None => [*bytes as u64; LANES],
                };
                let ignored = match ignore {
                    Some((p, negate)) => self.pred(*p, mask, cx.entry)? ^ if *negate { !0 } else { 0 },
                    None => 0,
                };
                for lane in lanes(mask) {
                    let thread = self.id * LANES as u32 + lane as u32;
                    let address = to_row[lane].wrapping_add(to.offset as u64);
                    cx.shared.check(address, *bytes, thread, false)?;
                    let size = if ignored >> lane & 1 == 1 { 0 } else { sizes[lane] as usize };
                    if size > *bytes {
                        let message = format!("{size} bytes of a copy of {bytes}");
                        return Err(Trap::new(FaultKind::BadOperand, lane as u32, message));
                    }
                    let data = fetch(cx, from_row[lane].wrapping_add(from.offset as u64), size, *bytes, lane)?;
                    cx.shared.begin_copy(address, *bytes, thread);
                    let group = self.committed[lane];
                    let copy = Copy { lane: lane as u32, group, to: address, len: *bytes, bytes: data };
                    if cx.eager {
                        cx.shared.write(address, &data[..*bytes], thread, false);
                    }
                    self.copies.push(copy);
                }
            }
            Op::CpCommit => {
                for lane in lanes(mask) {
                    self.committed[lane] += 1;
                }
            }
            Op::CpWait { pending } => self.deliver(mask, Some(*pending), cx),
            _ => self.deliver(mask, None, cx),
        }
        Ok(())
    }

    /// The copies of all but the last `pending` committed groups arrive; without a number, all copies.
    fn deliver(&mut self, mask: u32, pending: Option<u32>, cx: &mut Context) {
        let (committed, first) = (self.committed, self.id * LANES as u32);
        self.copies.retain(|c| {
            let done = match pending {
                Some(n) => c.group + n < committed[c.lane as usize],
                None => true,
            };
            let arrives = mask >> c.lane & 1 == 1 && done;
            if arrives {
                cx.shared.write(c.to, &c.bytes[..c.len], first + c.lane, false);
            }
            !arrives
        });
    }
}

/// The first `size` bytes at `address`, the rest of `len` zero. The address has to be aligned to the whole copy.
fn fetch(cx: &mut Context, address: u64, size: usize, len: usize, lane: usize) -> Result<[u8; 16], Trap> {
    let mut out = [0; 16];
    if size == 0 {
        return Ok(out);
    }
    if !address.is_multiple_of(len as u64) {
        let message = format!("a copy of {len} bytes from {address:#x}");
        return Err(Trap::new(FaultKind::Misaligned, lane as u32, message));
    }
    if size == len {
        cx.global.read(address, len, lane as u32, &mut out)?;
        return Ok(out);
    }
    for (i, o) in out.iter_mut().enumerate().take(size) {
        let mut byte = [0; 16];
        cx.global.read(address + i as u64, 1, lane as u32, &mut byte)?;
        *o = byte[0];
    }
    Ok(out)
}
