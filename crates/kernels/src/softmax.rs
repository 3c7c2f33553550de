//! Softmax and log-softmax over the middle of `[outer, len, inner]`.

use crate::isa::{Isa, Kernel, Simd};
use crate::par::{Parallel, Shared, ranges};
use crate::vmath;

/// `y = e^(x - max) / sum`, or `x - max - log(sum)` if `log`, over `r` of `x[outer, r, inner]`.
///
/// # Panics
/// If a slice is too short.
#[allow(clippy::too_many_arguments)]
pub fn softmax(
    isa: Isa,
    par: &dyn Parallel,
    log: bool,
    outer: usize,
    len: usize,
    inner: usize,
    x: &[f32],
    y: &mut [f32],
) {
    let total = outer * len * inner;
    assert!(x.len() >= total, "x: slice too short");
    assert!(y.len() >= total, "y: slice too short");
    let y = Shared::new(y);
    let x = Shared::from_const(x.as_ptr());
    run(isa, par, log, outer, len, inner, x, y);
}

/// As [`softmax`], in place.
///
/// # Panics
/// If the slice is too short.
pub fn softmax_in_place(
    isa: Isa,
    par: &dyn Parallel,
    log: bool,
    outer: usize,
    len: usize,
    inner: usize,
    x: &mut [f32],
) {
    assert!(x.len() >= outer * len * inner, "x: slice too short");
    let x = Shared::new(x);
    run(isa, par, log, outer, len, inner, x, x);
}

/// `x` and `y` are equal or disjoint.
#[allow(clippy::too_many_arguments)]
fn run(
    isa: Isa,
    par: &dyn Parallel,
    log: bool,
    outer: usize,
    len: usize,
    inner: usize,
    x: Shared<f32>,
    y: Shared<f32>,
) {
    if len == 0 || inner == 0 {
        return;
    }
    // Neighbouring columns are taken 16 at a time on every tier.
    let runs = inner.div_ceil(16);
    ranges(par, outer * runs, 16 * len * inner.min(16), |units| {
        isa.run(Task { log, len, inner, runs, x: x.get(), y: y.get(), units });
    });
}

struct Task {
    log: bool,
    len: usize,
    inner: usize,
    runs: usize,
    x: *const f32,
    y: *mut f32,
    units: std::ops::Range<usize>,
}

impl Kernel for Task {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { log, len, inner, runs, .. } = self;
        for unit in self.units {
            let (outer, start) = (unit / runs, unit % runs * 16);
            // SAFETY: the unit lies within the tensors, whose lengths were checked; rows of `x` and `y` are equal or
            // disjoint.
            unsafe {
                let at = outer * len * inner + start;
                let (x, y) = (self.x.add(at), self.y.add(at));
                if inner == 1 {
                    row(s, log, x, y, len);
                } else {
                    let width = (inner - start).min(16);
                    for i in (0..width).step_by(S::LANES) {
                        columns(s, log, x.add(i), y.add(i), len, inner, S::LANES.min(width - i));
                    }
                }
            }
        }
    }
}

/// One contiguous row.
///
/// # Safety
/// `x` and `y` must be valid for `len` values, and equal or disjoint.
#[inline(always)]
pub(crate) unsafe fn row<S: Simd>(s: S, log: bool, x: *const f32, y: *mut f32, len: usize) {
    // SAFETY: as promised by the caller; no slice lives while `y` is written.
    unsafe {
        let top = top(s, x, len);
        let most = s.splat(top);
        if log {
            let sum = vmath::sum!(s, x, len, f32::NEG_INFINITY, |v| vmath::exp(s, s.sub(v, most)));
            let shift = s.splat(sum.ln() as f32);
            vmath::each!(s, x, y, len, |v| s.sub(s.sub(v, most), shift));
            return;
        }
        let scale = s.splat(exponentials(s, x, y, len, 1.0, top));
        vmath::each!(s, y, y, len, |v| s.mul(v, scale));
    }
}

/// The largest of `len` values, negative infinity of none.
///
/// # Safety
/// `x` must be valid for `len` values.
#[inline(always)]
pub(crate) unsafe fn top<S: Simd>(s: S, x: *const f32, len: usize) -> f32 {
    const LOW: f32 = f32::NEG_INFINITY;
    // SAFETY: as promised by the caller.
    s.reduce_max(unsafe { vmath::fold!(s, x, len, (LOW, LOW), |v| v, |a, b| s.max(a, b)) })
}

/// `y = exp(scale x - top)`; the reciprocal of their sum.
///
/// # Safety
/// `x` and `y` must be valid for `len` values, and equal or disjoint.
#[inline(always)]
pub(crate) unsafe fn exponentials<S: Simd>(s: S, x: *const f32, y: *mut f32, len: usize, scale: f32, top: f32) -> f32 {
    let (scale, shift) = (s.splat(scale), s.splat(-top));
    let (mut total, mut at) = (0f64, 0);
    // SAFETY: as promised by the caller; a vector is stored whole only where it lies within `len`.
    unsafe {
        while at < len {
            let end = (at + vmath::SUM_BLOCK).min(len);
            let mut acc = [s.zero(); 2];
            while at + 2 * S::LANES <= end {
                let a = vmath::exp(s, s.fma(s.load(x.add(at)), scale, shift));
                let b = vmath::exp(s, s.fma(s.load(x.add(at + S::LANES)), scale, shift));
                s.store(y.add(at), a);
                s.store(y.add(at + S::LANES), b);
                acc = [s.add(acc[0], a), s.add(acc[1], b)];
                at += 2 * S::LANES;
            }
            while at < end {
                let n = S::LANES.min(end - at);
                s.store_n(y.add(at), n, vmath::exp(s, s.fma(s.load_n(x.add(at), n), scale, shift)));
                // Lanes past the end are zero when they are read again.
                acc[0] = s.add(acc[0], s.load_n(y.add(at), n));
                at += n;
            }
            total += f64::from(s.reduce_add(s.add(acc[0], acc[1])));
        }
    }
    (1.0 / total) as f32
}

/// `n <= LANES` columns of rows `stride` apart.
///
/// # Safety
/// `x` and `y` must be valid for `n` values at each of `len` rows, and equal or disjoint.
#[inline(always)]
unsafe fn columns<S: Simd>(s: S, log: bool, x: *const f32, y: *mut f32, len: usize, stride: usize, n: usize) {
    // SAFETY: as promised by the caller.
    unsafe {
        let mut top = s.splat(f32::NEG_INFINITY);
        for i in 0..len {
            top = s.max(top, s.load_n(x.add(i * stride), n));
        }
        let mut sum = s.zero();
        for i in 0..len {
            let v = s.sub(s.load_n(x.add(i * stride), n), top);
            let e = vmath::exp(s, v);
            sum = s.add(sum, e);
            s.store_n(y.add(i * stride), n, if log { v } else { e });
        }
        let (scale, shift) = (s.div(s.splat(1.0), sum), vmath::log(s, sum));
        for i in 0..len {
            let p = y.add(i * stride);
            let v = s.load_n(p, n);
            s.store_n(p, n, if log { s.sub(v, shift) } else { s.mul(v, scale) });
        }
    }
}

#[cfg(test)]
mod tests {
    //! Both functions over every axis against f64.

    use super::*;
    use crate::check::{Rng, close, every};

    #[test]
    fn over_every_axis() {
        for (outer, len, inner) in [
            (1, 1, 1),
            (3, 7, 1),
            (2, 128, 1),
            (1, 1003, 1),
            (2, 5, 3),
            (1, 21, 50),
            (4, 9, 16),
            (2, 0, 3),
            (0, 3, 1),
            (2, 3, 0),
        ] {
            let mut x = Rng::new(4).vec(outer * len * inner);
            x.iter_mut().for_each(|v| *v *= 20.0);
            let mut want = [vec![0.0; x.len()], vec![0.0; x.len()]];
            for o in 0..outer {
                for i in 0..inner {
                    let at = |r: usize| (o * len + r) * inner + i;
                    let top = (0..len).map(|r| f64::from(x[at(r)])).fold(f64::NEG_INFINITY, f64::max);
                    let sum: f64 = (0..len).map(|r| (f64::from(x[at(r)]) - top).exp()).sum();
                    for r in 0..len {
                        let v = f64::from(x[at(r)]) - top;
                        want[0][at(r)] = v.exp() / sum;
                        want[1][at(r)] = v - sum.ln();
                    }
                }
            }
            for (log, want) in [false, true].into_iter().zip(&want) {
                let what = |tier: &str| format!("{tier} log {log} {outer}x{len}x{inner}");
                every(
                    x.len(),
                    |isa, par, y| softmax(isa, par, log, outer, len, inner, &x, y),
                    |tier, y| close(y, want, 1e-6, &what(tier)),
                );
                every(
                    x.len(),
                    |isa, par, y| {
                        y.copy_from_slice(&x);
                        softmax_in_place(isa, par, log, outer, len, inner, y);
                    },
                    |tier, y| close(y, want, 1e-6, &what(tier)),
                );
            }
        }
    }

    #[test]
    fn masked_rows() {
        let x = [0.0, f32::NEG_INFINITY, 1.0, f32::NEG_INFINITY];
        every(
            4,
            |isa, par, y| softmax(isa, par, false, 1, 4, 1, &x, y),
            |tier, y| {
                let e = std::f64::consts::E;
                close(y, &[1.0 / (1.0 + e), 0.0, e / (1.0 + e), 0.0], 1e-6, tier);
            },
        );
    }
}
