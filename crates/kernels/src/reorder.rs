//! Conversion between NCHW and NCHW16c.

use crate::isa::{Isa, Kernel, Simd};
use crate::micro::PANEL;
use crate::par::{Parallel, Shared, ranges};

/// NCHW to NCHW16c: `x[n][c][pixel]` to `y[n][c / 16][pixel][16]`, with zeros where there are no channels.
///
/// # Panics
/// If a slice is too short.
pub fn to_blocked(isa: Isa, par: &dyn Parallel, n: usize, c: usize, pixels: usize, x: &[f32], y: &mut [f32]) {
    let blocks = c.div_ceil(PANEL);
    assert!(x.len() >= n * c * pixels, "x: slice too short");
    assert!(y.len() >= n * blocks * PANEL * pixels, "y: slice too short");
    run(isa, par, n, c, pixels, Shared::from_const(x.as_ptr()), Shared::new(y), true);
}

/// NCHW16c to NCHW, the inverse of [`to_blocked`].
///
/// # Panics
/// If a slice is too short.
pub fn from_blocked(isa: Isa, par: &dyn Parallel, n: usize, c: usize, pixels: usize, x: &[f32], y: &mut [f32]) {
    let blocks = c.div_ceil(PANEL);
    assert!(x.len() >= n * blocks * PANEL * pixels, "x: slice too short");
    assert!(y.len() >= n * c * pixels, "y: slice too short");
    run(isa, par, n, c, pixels, Shared::new(y), Shared::from_const(x.as_ptr()), false);
}

/// Work is cut into squares of 16 pixels, so that few channels of a large image still use every thread.
#[allow(clippy::too_many_arguments)]
fn run(
    isa: Isa,
    par: &dyn Parallel,
    n: usize,
    c: usize,
    pixels: usize,
    plain: Shared<f32>,
    blocked: Shared<f32>,
    to_blocked: bool,
) {
    let squares = pixels.div_ceil(PANEL);
    ranges(par, n * c.div_ceil(PANEL) * squares, PANEL * PANEL, |squares| {
        isa.run(Squares { c, pixels, plain: plain.get(), blocked: blocked.get(), to_blocked, squares });
    });
}

struct Squares {
    c: usize,
    pixels: usize,
    plain: *mut f32,
    blocked: *mut f32,
    to_blocked: bool,
    squares: std::ops::Range<usize>,
}

impl Kernel for Squares {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let blocks = self.c.div_ceil(PANEL);
        let per_block = self.pixels.div_ceil(PANEL);
        for square in self.squares {
            let (image, block) = (square / per_block / blocks, square / per_block % blocks);
            let pixel = square % per_block * PANEL;
            let channels = (self.c - block * PANEL).min(PANEL);
            let width = (self.pixels - pixel).min(PANEL);
            // SAFETY: `channels` rows of `width` pixels exist at the plain address, `width` rows of 16 at the other.
            unsafe {
                let plain = self.plain.add((image * self.c + block * PANEL) * self.pixels + pixel);
                let blocked = self.blocked.add(((image * blocks + block) * self.pixels + pixel) * PANEL);
                if self.to_blocked {
                    square_to(s, plain, self.pixels, channels, width, blocked);
                } else {
                    square_from(s, blocked, width, channels, plain, self.pixels);
                }
            }
        }
    }
}

/// Transposes `channels x width` to `width x 16`.
///
/// # Safety
/// Both squares must be valid.
#[inline(always)]
unsafe fn square_to<S: Simd>(s: S, x: *const f32, stride: usize, channels: usize, width: usize, y: *mut f32) {
    // SAFETY: as promised by the caller; the square on the stack holds 16 x 16.
    unsafe {
        if channels == PANEL && width == PANEL {
            s.transpose16(x, stride, y, PANEL);
            return;
        }
        let mut from = [0.0f32; PANEL * PANEL];
        for c in 0..channels {
            std::ptr::copy_nonoverlapping(x.add(c * stride), from.as_mut_ptr().add(c * PANEL), width);
        }
        let mut to = [0.0f32; PANEL * PANEL];
        s.transpose16(from.as_ptr(), PANEL, to.as_mut_ptr(), PANEL);
        std::ptr::copy_nonoverlapping(to.as_ptr(), y, width * PANEL);
    }
}

/// Transposes `width x 16` to `channels x width`.
///
/// # Safety
/// Both squares must be valid.
#[inline(always)]
unsafe fn square_from<S: Simd>(s: S, x: *const f32, width: usize, channels: usize, y: *mut f32, stride: usize) {
    // SAFETY: as promised by the caller; the squares on the stack hold 16 x 16.
    unsafe {
        if channels == PANEL && width == PANEL {
            s.transpose16(x, PANEL, y, stride);
            return;
        }
        let mut from = [0.0f32; PANEL * PANEL];
        std::ptr::copy_nonoverlapping(x, from.as_mut_ptr(), width * PANEL);
        let mut to = [0.0f32; PANEL * PANEL];
        s.transpose16(from.as_ptr(), PANEL, to.as_mut_ptr(), PANEL);
        for c in 0..channels {
            std::ptr::copy_nonoverlapping(to.as_ptr().add(c * PANEL), y.add(c * stride), width);
        }
    }
}

#[cfg(test)]
mod tests {
    //! Round trips over awkward sizes.

    use super::*;
    use crate::check::{Rng, every};

    #[test]
    fn there_and_back() {
        for (n, c, pixels) in
            [(1, 16, 16), (2, 3, 50), (1, 17, 33), (3, 48, 7), (1, 1, 1), (0, 5, 5), (2, 32, 0), (1, 40, 64)]
        {
            let x = Rng::new(3).vec(n * c * pixels);
            let blocks = c.div_ceil(PANEL);
            let mut want = vec![0.0; n * blocks * PANEL * pixels];
            for (i, &v) in x.iter().enumerate() {
                let (image, channel, p) = (i / pixels / c, i / pixels % c, i % pixels);
                want[((image * blocks + channel / PANEL) * pixels + p) * PANEL + channel % PANEL] = v;
            }
            let check = |want: &[f32], tier: &str, got: &[f32]| assert_eq!(got, want, "{tier} {n}x{c}x{pixels}");
            every(want.len(), |isa, par, y| to_blocked(isa, par, n, c, pixels, &x, y), |tier, y| check(&want, tier, y));
            every(x.len(), |isa, par, y| from_blocked(isa, par, n, c, pixels, &want, y), |tier, y| check(&x, tier, y));
        }
    }
}
