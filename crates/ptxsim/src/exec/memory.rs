//! Loads, stores and atomics.
//!
//! A store checks all its lanes before it writes any, so that lanes of one instruction do not count as racing with each
//! other; then it looks whether two of them wanted different values at one address.

use super::{Context, Warp, lanes, window};
use crate::decode::LOCAL_BASE;
use crate::error::{FaultKind, Trap};
use crate::isa::{Address, AtomicOp, LANES, Op, Reg, Rounding, Row, Space, Type, ones};
use crate::num::{bf16_bits, bf16_value, f16_bits, f16_value, f32_value, int_value};

/// The space and the address there of a lane.
fn resolve(at: &Address, base: u64) -> (Space, u64) {
    let address = base.wrapping_add(at.offset as u64);
    if at.space == Space::Generic { window(address) } else { (at.space, address) }
}

/// Element `i` of what a load brought, extended to its register.
fn element(bytes: &[u8; 16], i: usize, ty: Type, width: u32) -> u64 {
    let (n, mut raw) = (ty.bytes(), [0; 8]);
    raw[..n].copy_from_slice(&bytes[i * n..(i + 1) * n]);
    let v = u64::from_le_bytes(raw);
    if ty.signed() { int_value(v, ty) as u64 & ones(width) } else { v }
}

impl Warp {
    fn thread(&self, lane: usize) -> u32 {
        self.id * LANES as u32 + lane as u32
    }

    pub(super) fn memory(&mut self, op: &Op, mask: u32, cx: &mut Context) -> Result<(), Trap> {
        match op {
            Op::LdParam { ty, n, d, width, offset } => {
                let mut bytes = [0; 16];
                let len = n * ty.bytes();
                bytes[..len].copy_from_slice(&cx.params[*offset as usize..*offset as usize + len]);
                for (i, d) in d.iter().take(*n).enumerate() {
                    self.store(*d, mask, &[element(&bytes, i, *ty, *width); LANES]);
                }
                Ok(())
            }
            Op::Ld { ty, n, d, width, from, order, constant } => {
                let mut rows = [[0u64; LANES]; 4];
                let base = *self.source(from.base, mask, cx.entry)?;
                let len = n * ty.bytes();
                count(cx, from, &base, mask, len);
                for lane in lanes(mask) {
                    let mut bytes = [0; 16];
                    let place = resolve(from, base[lane]);
                    self.load(cx, place, len, lane, &mut bytes)?;
                    if *constant && cx.global.written_now(place.1, len) {
                        let message = format!("{:#x} is read as constant (.nc), and written by this launch", place.1);
                        return Err(Trap::new(FaultKind::GlobalRace, lane as u32, message));
                    }
                    for (i, row) in rows.iter_mut().take(*n).enumerate() {
                        row[lane] = element(&bytes, i, *ty, *width);
                    }
                }
                for (d, row) in d.iter().zip(&rows).take(*n) {
                    self.store(*d, mask, row);
                }
                if order.acquire {
                    cx.global.synchronise(false, true);
                }
                Ok(())
            }
            Op::St { ty, n, a, to, order } => {
                if order.release {
                    cx.global.synchronise(true, false);
                }
                self.write(*ty, *n, a, to, mask, cx)
            }
            Op::Atomic { op, ty, d, at, b, c, order } => {
                if at.space != Space::Shared {
                    cx.global.synchronise(order.release, order.acquire);
                }
                let (b, c) = (*self.source(*b, mask, cx.entry)?, *self.source(*c, mask, cx.entry)?);
                let base = *self.source(at.base, mask, cx.entry)?;
                let mut old_row = [0; LANES];
                for lane in lanes(mask) {
                    let (space, address) = resolve(at, base[lane]);
                    let mut bytes = [0; 16];
                    let (len, thread) = (ty.bytes(), self.thread(lane));
                    match space {
                        Space::Shared => {
                            cx.shared.check(address, len, thread, true)?;
                            cx.shared.peek(address, len, thread, &mut bytes)?;
                        }
                        _ => {
                            cx.global.claim(address, len, lane as u32, true)?;
                            cx.global.peek(address, len, lane as u32, &mut bytes)?;
                        }
                    }
                    let old = element(&bytes, 0, *ty, ty.bits()) & ones(ty.bits());
                    old_row[lane] = old;
                    let new = combine(*op, *ty, old, b[lane], c[lane]).to_le_bytes();
                    match space {
                        Space::Shared => cx.shared.write(address, &new[..len], thread, true),
                        _ => cx.global.write(address, &new[..len]),
                    }
                }
                if let Some(d) = d {
                    self.store(*d, mask, &old_row);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn load(
        &self,
        cx: &mut Context,
        (space, address): (Space, u64),
        len: usize,
        lane: usize,
        out: &mut [u8; 16],
    ) -> Result<(), Trap> {
        match space {
            Space::Shared => cx.shared.read(address, len, self.thread(lane), out),
            Space::Local => {
                let at = self.local(cx, address, len, lane)?;
                for (o, (byte, written)) in out.iter_mut().zip(&cx.local[self.thread(lane) as usize][at..at + len]) {
                    if !written {
                        let message = format!("byte {at} of local memory");
                        return Err(Trap::new(FaultKind::Uninitialised, lane as u32, message));
                    }
                    *o = *byte;
                }
                Ok(())
            }
            Space::Global | Space::Generic => cx.global.read(address, len, lane as u32, out),
        }
    }

    /// Where `address` is in the local memory of a thread.
    fn local(&self, cx: &Context, address: u64, len: usize, lane: usize) -> Result<usize, Trap> {
        let at = address.wrapping_sub(LOCAL_BASE);
        let size = cx.entry.local_bytes as u64;
        let message = || format!("{len} bytes at byte {} of {size} in local memory", at as i64);
        if at >= size || at + len as u64 > size {
            return Err(Trap::new(FaultKind::OutOfBounds, lane as u32, message()));
        }
        if !address.is_multiple_of(len as u64) {
            return Err(Trap::new(FaultKind::Misaligned, lane as u32, message()));
        }
        Ok(at as usize)
    }

    fn write(
        &mut self,
        ty: Type,
        n: usize,
        a: &[Reg; 4],
        to: &Address,
        mask: u32,
        cx: &mut Context,
    ) -> Result<(), Trap> {
        let size = ty.bytes();
        let len = n * size;
        let base = *self.source(to.base, mask, cx.entry)?;
        let mut bytes = [[0u8; 16]; LANES];
        for (i, r) in a.iter().take(n).enumerate() {
            let row = self.source(*r, mask, cx.entry)?;
            for lane in lanes(mask) {
                bytes[lane][i * size..(i + 1) * size].copy_from_slice(&row[lane].to_le_bytes()[..size]);
            }
        }
        count(cx, to, &base, mask, len);
        let mut places = [(Space::Global, 0); LANES];
        for lane in lanes(mask) {
            places[lane] = resolve(to, base[lane]);
            let address = places[lane].1;
            match places[lane].0 {
                Space::Shared => cx.shared.check(address, len, self.thread(lane), false)?,
                Space::Local => {
                    self.local(cx, address, len, lane)?;
                }
                Space::Global | Space::Generic => cx.global.claim(address, len, lane as u32, false)?,
            }
        }
        for lane in lanes(mask) {
            let (address, new) = (places[lane].1, &bytes[lane][..len]);
            match places[lane].0 {
                Space::Shared => cx.shared.write(address, new, self.thread(lane), false),
                Space::Local => {
                    let at = self.local(cx, address, len, lane)?;
                    for (slot, v) in cx.local[self.thread(lane) as usize][at..].iter_mut().zip(new) {
                        *slot = (*v, true);
                    }
                }
                Space::Global | Space::Generic => cx.global.write(address, new),
            }
        }
        for lane in lanes(mask) {
            let mut found = [0; 16];
            let address = places[lane].1;
            match places[lane].0 {
                Space::Shared => cx.shared.peek(address, len, self.thread(lane), &mut found)?,
                Space::Local => continue,
                Space::Global | Space::Generic => cx.global.peek(address, len, lane as u32, &mut found)?,
            }
            if found[..len] != bytes[lane][..len] {
                let message = format!("another lane writes a different value at {address:#x}");
                return Err(Trap::new(FaultKind::WriteConflict, lane as u32, message));
            }
        }
        Ok(())
    }
}

/// Counts sectors or passes of one access. A warp's access of wide elements is served in parts of 128 bytes.
fn count(cx: &mut Context, at: &Address, base: &Row, mask: u32, len: usize) {
    let stats = &mut cx.stats;
    match at.space {
        Space::Global => {
            let (mut sectors, mut n) = ([0u64; 2 * LANES], 0);
            for lane in lanes(mask) {
                let first = base[lane].wrapping_add(at.offset as u64);
                for s in first >> 5..=first.wrapping_add(len as u64 - 1) >> 5 {
                    let known = n > 0 && sectors[n - 1] == s;
                    if !known && n < sectors.len() {
                        sectors[n] = s;
                        n += 1;
                    }
                }
            }
            let found = &mut sectors[..n];
            found.sort_unstable();
            stats.sectors += 1 + found.windows(2).filter(|w| w[0] != w[1]).count() as u64;
            stats.ideal_sectors += (u64::from(mask.count_ones()) * len as u64).div_ceil(32);
        }
        Space::Shared => {
            let part = match len {
                16 => 8,
                8 => 16,
                _ => 32,
            };
            for first in (0..LANES).step_by(part) {
                let here = mask & (ones(part as u32) as u32) << first;
                if here == 0 {
                    continue;
                }
                let (mut words, mut n) = ([0u64; LANES], 0);
                for lane in lanes(here) {
                    let address = base[lane].wrapping_add(at.offset as u64);
                    for i in 0..len.div_ceil(4) as u64 {
                        words[n] = (address >> 2).wrapping_add(i);
                        n += 1;
                    }
                }
                let words = &mut words[..n];
                stats.ideal_passes += 1;
                // Mostly no two words share a bank.
                let mut held = [u64::MAX; 32];
                let conflict = words.iter().any(|w| {
                    let bank = &mut held[(*w % 32) as usize];
                    let other = *bank != u64::MAX && *bank != *w;
                    *bank = *w;
                    other
                });
                if !conflict {
                    stats.passes += 1;
                    continue;
                }
                words.sort_unstable();
                let (mut banks, mut last) = ([0u8; 32], None);
                for w in words.iter() {
                    if last != Some(*w) {
                        banks[(*w % 32) as usize] += 1;
                        last = Some(*w);
                    }
                }
                stats.passes += u64::from(banks.into_iter().max().unwrap_or(1));
            }
        }
        Space::Local | Space::Generic => {}
    }
}

/// What an atomic writes.
pub(super) fn combine(op: AtomicOp, ty: Type, old: u64, b: u64, c: u64) -> u64 {
    let halves = |f: fn(u64, u64) -> u64| f(old & 0xffff, b & 0xffff) | f(old >> 16, b >> 16) << 16;
    let half = |x: u64, y: u64| f16_bits(f16_value(x) + f16_value(y), Rounding::Even);
    let brain = |x: u64, y: u64| bf16_bits(bf16_value(x) + bf16_value(y), Rounding::Even);
    match op {
        AtomicOp::Add => match ty {
            Type::F32 => u64::from((f32_value(old) + f32_value(b)).to_bits()),
            Type::F64 => (f64::from_bits(old) + f64::from_bits(b)).to_bits(),
            Type::F16 => half(old, b),
            Type::Bf16 => brain(old, b),
            Type::F16x2 => halves(half),
            Type::Bf16x2 => halves(brain),
            _ => old.wrapping_add(b) & ones(ty.bits()),
        },
        AtomicOp::Min if int_value(b, ty) < int_value(old, ty) => b,
        AtomicOp::Max if int_value(b, ty) > int_value(old, ty) => b,
        AtomicOp::Min | AtomicOp::Max => old,
        AtomicOp::Inc => {
            if old >= b {
                0
            } else {
                old + 1
            }
        }
        AtomicOp::Dec => {
            if old == 0 || old > b {
                b
            } else {
                old - 1
            }
        }
        AtomicOp::And => old & b,
        AtomicOp::Or => old | b,
        AtomicOp::Xor => old ^ b,
        AtomicOp::Exch => b,
        AtomicOp::Cas => {
            if old == b {
                c
            } else {
                old
            }
        }
    }
}
