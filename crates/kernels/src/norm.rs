//! Normalisation of contiguous rows: LayerNorm, RMSNorm, InstanceNorm, GroupNorm.
//!
//! Mean and variance are computed in two passes with totals in f64, so that a large common offset does no harm.

use crate::isa::{Isa, Kernel, Simd};
use crate::par::{Parallel, Shared, ranges};
use crate::vmath;

/// What is divided by what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norm {
    /// `(x - mean) / sqrt(variance + epsilon)`
    Mean,
    /// `x / sqrt(mean of squares + epsilon)`
    Rms,
}

/// Scale and shift after the division.
#[derive(Clone, Copy, Debug)]
pub enum Affine<'a> {
    /// None.
    None,
    /// `y * scale[i] + shift[i]` for element `i` of a row; an empty `shift` adds nothing (LayerNorm, RMSNorm).
    PerElement {
        /// One per element of a row.
        scale: &'a [f32],
        /// As many, or empty.
        shift: &'a [f32],
    },
    /// A row holds whole channels of `pixels` elements; row `r` starts at channel `r * per_row` modulo the number of
    /// channels, `scale.len()` (InstanceNorm: one channel per row; GroupNorm: those of the group).
    PerChannel {
        /// One per channel.
        scale: &'a [f32],
        /// One per channel.
        shift: &'a [f32],
        /// Elements of a channel; rows are a multiple long.
        pixels: usize,
    },
}

/// Normalises `rows` rows of `len` elements.
///
/// # Panics
/// If a slice is too short, or rows are not whole channels.
#[allow(clippy::too_many_arguments)]
pub fn normalise(
    isa: Isa,
    par: &dyn Parallel,
    norm: Norm,
    rows: usize,
    len: usize,
    x: &[f32],
    affine: Affine<'_>,
    epsilon: f32,
    y: &mut [f32],
) {
    assert!(x.len() >= rows * len, "x: slice too short");
    assert!(y.len() >= rows * len, "y: slice too short");
    match affine {
        Affine::None => {}
        Affine::PerElement { scale, shift } => {
            assert!(scale.len() >= len && (shift.is_empty() || shift.len() >= len), "scale: slice too short");
        }
        Affine::PerChannel { scale, shift, pixels } => {
            assert!(pixels > 0 && len.is_multiple_of(pixels), "rows are not whole channels");
            assert!(!scale.is_empty() && scale.len() == shift.len(), "scale: slice too short");
        }
    }
    let y = Shared::new(y);
    ranges(par, rows, 8 * len, |rows| {
        isa.run(Task { norm, rows, len, x, affine, epsilon, y: y.get() });
    });
}

struct Task<'a> {
    norm: Norm,
    rows: std::ops::Range<usize>,
    len: usize,
    x: &'a [f32],
    affine: Affine<'a>,
    epsilon: f32,
    y: *mut f32,
}

impl Kernel for Task<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let len = self.len;
        for row in self.rows {
            let x = &self.x[row * len..][..len];
            let count = len.max(1) as f64;
            let mean = if self.norm == Norm::Mean {
                // SAFETY: the row is a slice.
                (unsafe { vmath::sum!(s, x.as_ptr(), len, 0.0, |v| v) } / count) as f32
            } else {
                0.0
            };
            let m = s.splat(mean);
            // SAFETY: as above.
            let squares = unsafe {
                vmath::sum!(s, x.as_ptr(), len, mean, |v| {
                    let d = s.sub(v, m);
                    s.mul(d, d)
                })
            };
            let variance = squares / count;
            let factor = (1.0 / (variance + f64::from(self.epsilon)).sqrt()) as f32;
            let f = s.splat(factor);
            // SAFETY: the row lies within both tensors; scale and shift were checked to cover it.
            unsafe {
                let y = self.y.add(row * len);
                match self.affine {
                    Affine::None => vmath::each!(s, x.as_ptr(), y, len, |v| s.mul(s.sub(v, m), f)),
                    Affine::PerElement { scale, shift } => per_element(s, x, y, m, f, scale, shift),
                    Affine::PerChannel { scale, shift, pixels } => {
                        for (i, x) in x.chunks_exact(pixels).enumerate() {
                            let channel = (row * (len / pixels) + i) % scale.len();
                            let (a, b) = (s.mul(f, s.splat(scale[channel])), s.splat(shift[channel]));
                            vmath::each!(s, x.as_ptr(), y.add(i * pixels), pixels, |v| s.fma(s.sub(v, m), a, b));
                        }
                    }
                }
            }
        }
    }
}

/// `y = (x - m) f scale + shift`
///
/// # Safety
/// `y`, `scale` and, unless empty, `shift` must hold as many values as `x`.
#[inline(always)]
unsafe fn per_element<S: Simd>(s: S, x: &[f32], y: *mut f32, m: S::V, f: S::V, scale: &[f32], shift: &[f32]) {
    let mut i = 0;
    while i < x.len() {
        let n = S::LANES.min(x.len() - i);
        // SAFETY: `n` values are left at `i` everywhere.
        unsafe {
            let at = |v: &[f32]| if n == S::LANES { s.load(v.as_ptr().add(i)) } else { s.load_n(v.as_ptr().add(i), n) };
            let v = s.mul(s.sub(at(x), m), f);
            let v = if shift.is_empty() { s.mul(v, at(scale)) } else { s.fma(v, at(scale), at(shift)) };
            if n == S::LANES { s.store(y.add(i), v) } else { s.store_n(y.add(i), n, v) }
        }
        i += n;
    }
}

#[cfg(test)]
mod tests {
    //! Every kind of norm against f64, with an offset that a one-pass variance would lose.

    use super::*;
    use crate::check::{Rng, close, every};

    #[test]
    fn rows() {
        for (rows, len, pixels) in
            [(1, 1, 1), (3, 7, 7), (5, 768, 256), (2, 33, 11), (4, 5000, 1250), (0, 8, 8), (3, 0, 1)]
        {
            for norm in [Norm::Mean, Norm::Rms] {
                let mut rng = Rng::new(8);
                let x: Vec<f32> = rng.vec(rows * len).iter().map(|v| v + 3.0).collect();
                let channels = (rows * len / pixels).max(1);
                let (scale, shift, per) = (rng.vec(len), rng.vec(len), (rng.vec(channels), rng.vec(channels)));
                let affines = [
                    Affine::None,
                    Affine::PerElement { scale: &scale, shift: &shift },
                    Affine::PerElement { scale: &scale, shift: &[] },
                    Affine::PerChannel { scale: &per.0, shift: &per.1, pixels },
                ];
                for affine in affines {
                    let mut want = Vec::new();
                    for r in 0..rows {
                        let row: Vec<f64> = x[r * len..][..len].iter().map(|&v| v.into()).collect();
                        let mean = if norm == Norm::Mean { row.iter().sum::<f64>() / len as f64 } else { 0.0 };
                        let var = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / len as f64;
                        for (i, v) in row.iter().enumerate() {
                            let v = (v - mean) / (var + f64::from(1e-5f32)).sqrt();
                            want.push(match affine {
                                Affine::None => v,
                                Affine::PerElement { scale, shift } => {
                                    v * f64::from(scale[i]) + shift.get(i).map_or(0.0, |&b| b.into())
                                }
                                Affine::PerChannel { scale, shift, .. } => {
                                    let c = (r * len + i) / pixels;
                                    v * f64::from(scale[c]) + f64::from(shift[c])
                                }
                            });
                        }
                    }
                    every(
                        x.len(),
                        |isa, par, y| normalise(isa, par, norm, rows, len, &x, affine, 1e-5, y),
                        |tier, y| close(y, &want, 1e-5, &format!("{tier} {norm:?} {rows}x{len} {affine:?}")),
                    );
                }
            }
        }
    }
}
