//! Bytes between rows and channel blocks, and maxima of them.

use super::quads::PANEL;
use crate::par::{Parallel, Shared, ranges};
use crate::pool::Pool;

/// NCHW to NCHW16c, with zeros where there are no channels, or back.
///
/// # Panics
/// If a slice is too short.
pub fn reorder_bytes(par: &dyn Parallel, n: usize, c: usize, pixels: usize, to_blocked: bool, x: &[u8], y: &mut [u8]) {
    let blocks = c.div_ceil(PANEL);
    let (plain, blocked) = (n * c * pixels, n * blocks * PANEL * pixels);
    let (from, to) = if to_blocked { (plain, blocked) } else { (blocked, plain) };
    assert!(x.len() >= from && y.len() >= to, "bytes: slice too short");
    let y = Shared::new(y);
    ranges(par, n * blocks, pixels * PANEL, |range| {
        for i in range {
            let (image, block) = (i / blocks, i % blocks);
            let channels = (c - block * PANEL).min(PANEL);
            let (plain, blocked) = ((image * c + block * PANEL) * pixels, i * pixels * PANEL);
            for first in (0..pixels).step_by(PANEL) {
                let width = (pixels - first).min(PANEL);
                // A square of 16 x 16 at a time: columns of rows that far apart would miss the cache one by one.
                let mut square = [[0u8; PANEL]; PANEL];
                if to_blocked {
                    for (channel, row) in square.iter_mut().enumerate().take(channels) {
                        row[..width].copy_from_slice(&x[plain + channel * pixels + first..][..width]);
                    }
                    transpose(&mut square);
                    let to = y.get().wrapping_add(blocked + first * PANEL);
                    // SAFETY: `width` pixels of the block lie within y, whose length was checked, in a block of this task.
                    unsafe { std::ptr::copy_nonoverlapping(square.as_ptr().cast(), to, width * PANEL) };
                } else {
                    let from = x[blocked + first * PANEL..][..width * PANEL].chunks_exact(PANEL);
                    square.iter_mut().zip(from).for_each(|(row, pixel)| row.copy_from_slice(pixel));
                    transpose(&mut square);
                    for (channel, row) in square.iter().enumerate().take(channels) {
                        let to = y.get().wrapping_add(plain + channel * pixels + first);
                        // SAFETY: `width` pixels of the channel lie within y, whose length was checked, in a block of this
                        // task.
                        unsafe { std::ptr::copy_nonoverlapping(row.as_ptr(), to, width) };
                    }
                }
            }
        }
    });
}

/// Transposes a square by four squares of 8 x 8.
#[inline(always)]
fn transpose(square: &mut [[u8; PANEL]; PANEL]) {
    let from = *square;
    for (row, column) in [(0, 0), (0, 8), (8, 0), (8, 8)] {
        let mut rows = [0; 8];
        for (to, from) in rows.iter_mut().zip(&from[row..]) {
            let eight = from[column..].first_chunk().expect("this is a bug: half a row is eight bytes");
            *to = u64::from_le_bytes(*eight);
        }
        transpose8(&mut rows);
        for (to, from) in square[column..].iter_mut().zip(rows) {
            to[row..row + 8].copy_from_slice(&from.to_le_bytes());
        }
    }
}

/// Transposes eight rows of eight bytes, the first in the lowest bits: squares of 4, 2 and 1 change places across the
/// diagonal (Warren, "Hacker's Delight", section 7-3, on bytes).
#[inline(always)]
fn transpose8(rows: &mut [u64; 8]) {
    exchange::<4, 32>(rows, 0x0000_0000_ffff_ffff);
    exchange::<2, 16>(rows, 0x0000_ffff_0000_ffff);
    exchange::<1, 8>(rows, 0x00ff_00ff_00ff_00ff);
}

/// Squares of `STEP` bytes above the diagonal change places with those below; `SHIFT` is their width in bits.
#[inline(always)]
fn exchange<const STEP: usize, const SHIFT: u32>(rows: &mut [u64; 8], mask: u64) {
    for pair in 0..4 {
        let i = pair / STEP * 2 * STEP + pair % STEP;
        let swapped = ((rows[i] >> SHIFT) ^ rows[i + STEP]) & mask;
        rows[i + STEP] ^= swapped;
        rows[i] ^= swapped << SHIFT;
    }
}

/// The largest byte of each window (i8 if `signed`), on channel blocks (`pool.planes` counts those) or plain planes.
///
/// # Panics
/// If a slice is too short.
pub fn max_pool_bytes(par: &dyn Parallel, pool: &Pool, blocked: bool, signed: bool, x: &[u8], y: &mut [u8]) {
    if blocked {
        max_pool::<PANEL>(par, pool, signed, x, y);
    } else {
        max_pool::<1>(par, pool, signed, x, y);
    }
}

fn max_pool<const UNIT: usize>(par: &dyn Parallel, pool: &Pool, signed: bool, x: &[u8], y: &mut [u8]) {
    pool.check(UNIT, x.len(), y.len());
    let ([_, h, w], [od, oh, ow]) = (pool.input, pool.output);
    let flip = if signed { 0x80 } else { 0 };
    let taps = pool.kernel.iter().product::<usize>();
    let y = Shared::new(y);
    ranges(par, pool.planes * od * oh, ow * taps * UNIT, |rows| {
        for row in rows {
            let (plane, oz, oy) = (row / (od * oh), row / oh % od, row % oh);
            let (wz, wy) = (pool.taps(0, oz), pool.taps(1, oy));
            for ox in 0..ow {
                let wx = pool.taps(2, ox);
                // Bytes with their sign flipped order as u8.
                let mut best = [0u8; UNIT];
                for z in wz.clone() {
                    for line in wy.clone() {
                        let start = ((plane * pool.input[0] + z) * h + line) * w;
                        for column in wx.clone() {
                            let from = &x[(start + column) * UNIT..][..UNIT];
                            best.iter_mut().zip(from).for_each(|(best, v)| *best = (*best).max(v ^ flip));
                        }
                    }
                }
                best.iter_mut().for_each(|v| *v ^= flip);
                // SAFETY: the pixel lies within y, whose length was checked, in a row of this task.
                unsafe { y.get().add((row * ow + ox) * UNIT).cast::<[u8; UNIT]>().write(best) };
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Rng, Threads};

    #[test]
    fn there_and_back() {
        let mut rng = Rng::new(81);
        for (n, c, pixels) in [(1usize, 16usize, 16usize), (2, 3, 50), (1, 17, 33), (1, 48, 7), (0, 5, 5), (2, 40, 1)] {
            let x: Vec<u8> = (0..n * c * pixels).map(|_| rng.bits() as u8).collect();
            let (mut blocked, mut back) = (vec![0xA5; n * c.div_ceil(16) * 16 * pixels], vec![0; x.len()]);
            reorder_bytes(&Threads(2), n, c, pixels, true, &x, &mut blocked);
            for (i, v) in blocked.iter().enumerate() {
                let (image, block) = (i / 16 / pixels / c.div_ceil(16), i / 16 / pixels % c.div_ceil(16));
                let (channel, pixel) = (block * 16 + i % 16, i / 16 % pixels);
                let want = if channel < c { x[(image * c + channel) * pixels + pixel] } else { 0 };
                assert_eq!(*v, want, "{n} {c} {pixels} at {i}");
            }
            reorder_bytes(&Threads(2), n, c, pixels, false, &blocked, &mut back);
            assert_eq!(back, x, "{n} {c} {pixels}");
        }
    }
}
