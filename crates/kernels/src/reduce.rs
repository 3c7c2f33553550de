//! Reductions over the middle of `[outer, reduce, inner]`.
//!
//! Long sums are added in blocks whose totals are kept in f64 (contiguous) or in separate f32 totals (strided), so that
//! the error does not grow with the length. The order is fixed: one output is always computed by one task.

use crate::isa::{Isa, Kernel, Simd};
use crate::par::{Parallel, Shared, ranges};
use crate::vmath;

/// What is computed over the reduced elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduce {
    /// Sum; 0 of nothing.
    Sum,
    /// Sum divided by the count; NaN of nothing.
    Mean,
    /// Product; 1 of nothing.
    Prod,
    /// Largest; negative infinity of nothing; NaN wins.
    Max,
    /// Smallest; infinity of nothing; NaN wins.
    Min,
    /// Sum of squares.
    SumSquare,
    /// Mean of squares; NaN of nothing.
    MeanSquare,
    /// Largest magnitude; negative infinity of nothing.
    MaxAbs,
    /// Sum of magnitudes.
    L1,
    /// Square root of the sum of squares.
    L2,
    /// Logarithm of the sum.
    LogSum,
    /// Logarithm of the sum of exponentials, computed without overflow.
    LogSumExp,
}

/// `y[outer, inner] = op over r of x[outer, r, inner]`.
///
/// # Panics
/// If a slice is too short.
#[allow(clippy::too_many_arguments)]
pub fn reduce(
    isa: Isa,
    par: &dyn Parallel,
    op: Reduce,
    outer: usize,
    len: usize,
    inner: usize,
    x: &[f32],
    y: &mut [f32],
) {
    assert!(x.len() >= outer * len * inner, "x: slice too short");
    assert!(y.len() >= outer * inner, "y: slice too short");
    let (x, y) = (Shared::from_const(x.as_ptr()), Shared::new(y));
    // Outputs are grouped in runs of up to 256 neighbours, which is what a strided task keeps in L1.
    let runs = inner.div_ceil(RUN);
    ranges(par, outer * runs, 2 * len * inner.min(RUN), |r| {
        isa.run(Task { op, len, inner, runs, x: x.get(), y: y.get(), units: r });
    });
}

/// Outputs of one strided unit.
const RUN: usize = 256;

struct Task {
    op: Reduce,
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
        for unit in self.units {
            let (outer, run) = (unit / self.runs, unit % self.runs);
            let start = run * RUN;
            let width = (self.inner - start).min(RUN);
            // SAFETY: the unit lies within the tensors, whose lengths were checked.
            unsafe {
                let x = self.x.add(outer * self.len * self.inner + start);
                let y = self.y.add(outer * self.inner + start);
                if self.inner == 1 {
                    *y = contiguous(s, self.op, std::slice::from_raw_parts(x, self.len));
                } else {
                    let mut i = 0;
                    while i < width {
                        let n = S::LANES.min(width - i);
                        s.store_n(y.add(i), n, strided(s, self.op, x.add(i), self.len, self.inner, n));
                        i += n;
                    }
                }
            }
        }
    }
}

/// Elements of a block of a sum.
const BLOCK: usize = 1024;

/// Combines `map` of all elements with four accumulators that start at `start`; lanes past the end see `pad`.
#[inline(always)]
pub(crate) fn fold<S: Simd>(
    s: S,
    x: &[f32],
    (start, pad): (f32, f32),
    map: impl Fn(S::V) -> S::V,
    combine: impl Fn(S::V, S::V) -> S::V,
) -> S::V {
    let mut acc = [s.splat(start); 4];
    let whole = x.len() / S::LANES;
    let p = x.as_ptr();
    let mut i = 0;
    // SAFETY: vectors below `whole` lie within the slice; the tail is read from an array of a full vector.
    unsafe {
        while i + 4 <= whole {
            for (j, acc) in acc.iter_mut().enumerate() {
                *acc = combine(*acc, map(s.load(p.add((i + j) * S::LANES))));
            }
            i += 4;
        }
        while i < whole {
            acc[0] = combine(acc[0], map(s.load(p.add(i * S::LANES))));
            i += 1;
        }
        let tail = &x[whole * S::LANES..];
        if !tail.is_empty() {
            let mut lanes = [pad; 16];
            lanes[..tail.len()].copy_from_slice(tail);
            acc[3] = combine(acc[3], map(s.load(lanes.as_ptr())));
        }
    }
    combine(combine(acc[0], acc[1]), combine(acc[2], acc[3]))
}

/// The sum of `map` of all elements, where `map(pad)` is 0.
#[inline(always)]
pub(crate) fn sum_of<S: Simd>(s: S, x: &[f32], pad: f32, map: impl Fn(S::V) -> S::V) -> f64 {
    let mut total = 0.0;
    for block in x.chunks(BLOCK) {
        total += f64::from(s.reduce_add(fold(s, block, (0.0, pad), &map, |a, b| s.add(a, b))));
    }
    total
}

/// The largest element, negative infinity of nothing; of NaN it takes no notice.
#[inline(always)]
pub(crate) fn max_of<S: Simd>(s: S, x: &[f32]) -> f32 {
    const LOW: f32 = f32::NEG_INFINITY;
    s.reduce_max(fold(s, x, (LOW, LOW), |v| v, |a, b| s.max(a, b)))
}

/// The larger of an accumulator and a value; NaN if either is NaN: the vector maximum gives its second operand then.
#[inline(always)]
fn larger<S: Simd>(s: S, acc: S::V, v: S::V) -> S::V {
    s.select(s.eq(acc, acc), s.max(acc, v), acc)
}

/// The smaller of an accumulator and a value; NaN if either is NaN.
#[inline(always)]
fn smaller<S: Simd>(s: S, acc: S::V, v: S::V) -> S::V {
    s.select(s.eq(acc, acc), s.min(acc, v), acc)
}

/// The best of all lanes; NaN if any is NaN.
#[inline(always)]
fn extreme<S: Simd>(s: S, v: S::V, start: f32, better: impl Fn(f32, f32) -> bool) -> f32 {
    let mut lanes = [start; 16];
    // SAFETY: the array holds a vector of any tier.
    unsafe { s.store(lanes.as_mut_ptr(), v) };
    lanes.iter().fold(start, |best, v| if v.is_nan() || better(*v, best) { *v } else { best })
}

// Functions rather than closures of `contiguous`: what several arms call must be inlined to use the vectors of its caller.
#[inline(always)]
fn sum<S: Simd>(s: S, x: &[f32]) -> f64 {
    sum_of(s, x, 0.0, |v| v)
}

#[inline(always)]
fn squares<S: Simd>(s: S, x: &[f32]) -> f64 {
    sum_of(s, x, 0.0, |v| s.mul(v, v))
}

#[inline(always)]
fn contiguous<S: Simd>(s: S, op: Reduce, x: &[f32]) -> f32 {
    match op {
        Reduce::Sum => sum(s, x) as f32,
        Reduce::Mean => (sum(s, x) / x.len() as f64) as f32,
        Reduce::SumSquare => squares(s, x) as f32,
        Reduce::MeanSquare => (squares(s, x) / x.len() as f64) as f32,
        // Zero, which pads the last vector, is below every other magnitude.
        Reduce::MaxAbs => {
            let top = fold(s, x, (f32::NEG_INFINITY, 0.0), |v| s.abs(v), |a, b| larger(s, a, b));
            extreme(s, top, f32::NEG_INFINITY, |v, best| v > best)
        }
        Reduce::L1 => sum_of(s, x, 0.0, |v| s.abs(v)) as f32,
        Reduce::L2 => squares(s, x).sqrt() as f32,
        Reduce::LogSum => sum(s, x).ln() as f32,
        Reduce::Max => {
            let top = fold(s, x, (f32::NEG_INFINITY, f32::NEG_INFINITY), |v| v, |a, b| larger(s, a, b));
            extreme(s, top, f32::NEG_INFINITY, |v, best| v > best)
        }
        Reduce::Min => {
            let least = fold(s, x, (f32::INFINITY, f32::INFINITY), |v| v, |a, b| smaller(s, a, b));
            extreme(s, least, f32::INFINITY, |v, best| v < best)
        }
        Reduce::Prod => {
            let mut lanes = [1.0f32; 16];
            let product = fold(s, x, (1.0, 1.0), |v| v, |a, b| s.mul(a, b));
            // SAFETY: the array holds a vector of any tier.
            unsafe { s.store(lanes.as_mut_ptr(), product) };
            lanes.iter().product()
        }
        Reduce::LogSumExp => {
            let top = max_of(s, x);
            if top.is_infinite() {
                return top;
            }
            let sum = sum_of(s, x, f32::NEG_INFINITY, |v| vmath::exp(s, s.sub(v, s.splat(top))));
            (sum.ln() + f64::from(top)) as f32
        }
    }
}

/// Rows added before a partial sum joins the total.
const ROWS: usize = 64;

/// Reduces `len` rows of `n <= LANES` columns.
///
/// # Safety
/// `x` must be valid for reads of `n` values at each of `len` rows `stride` apart.
#[inline(always)]
unsafe fn strided<S: Simd>(s: S, op: Reduce, x: *const f32, len: usize, stride: usize, n: usize) -> S::V {
    let row = |i: usize| {
        let p = x.wrapping_add(i * stride);
        // SAFETY: row `i < len` holds `n` values.
        unsafe { if n == S::LANES { s.load(p) } else { s.load_n(p, n) } }
    };
    let top = (0..if op == Reduce::LogSumExp { len } else { 0 })
        .fold(s.splat(f32::NEG_INFINITY), |top, i| s.max(top, row(i)));
    let mut total = s.zero();
    match op {
        Reduce::Max => return fold_rows(s, len, f32::NEG_INFINITY, row, |a, v| larger(s, a, v)),
        Reduce::MaxAbs => return fold_rows(s, len, f32::NEG_INFINITY, row, |a, v| larger(s, a, s.abs(v))),
        Reduce::Min => return fold_rows(s, len, f32::INFINITY, row, |a, v| smaller(s, a, v)),
        Reduce::Prod => return fold_rows(s, len, 1.0, row, |a, v| s.mul(a, v)),
        _ => {}
    }
    let mut start = 0;
    while start < len {
        let end = (start + ROWS).min(len);
        let mut part = s.zero();
        for i in start..end {
            let v = row(i);
            part = match op {
                Reduce::SumSquare | Reduce::MeanSquare | Reduce::L2 => s.fma(v, v, part),
                Reduce::L1 => s.add(part, s.abs(v)),
                Reduce::LogSumExp => s.add(part, vmath::exp(s, s.sub(v, top))),
                _ => s.add(part, v),
            };
        }
        total = s.add(total, part);
        start = end;
    }
    match op {
        Reduce::Mean | Reduce::MeanSquare => s.div(total, s.splat(len as f32)),
        Reduce::L2 => s.sqrt(total),
        Reduce::LogSum => vmath::log(s, total),
        Reduce::LogSumExp => {
            let finite = s.lt(s.abs(top), s.splat(f32::INFINITY));
            s.select(finite, s.add(top, vmath::log(s, total)), top)
        }
        _ => total,
    }
}

#[inline(always)]
fn fold_rows<S: Simd>(
    s: S,
    len: usize,
    start: f32,
    row: impl Fn(usize) -> S::V,
    f: impl Fn(S::V, S::V) -> S::V,
) -> S::V {
    (0..len).fold(s.splat(start), |acc, i| f(acc, row(i)))
}

#[cfg(test)]
mod tests {
    //! Every reduction over awkward shapes against f64.

    use super::*;
    use crate::check::{Rng, close, every};

    fn naive(op: Reduce, x: impl Iterator<Item = f64> + Clone) -> f64 {
        let (n, sum) = (x.clone().count() as f64, x.clone().sum::<f64>());
        match op {
            Reduce::Sum => sum,
            Reduce::Mean => sum / n,
            Reduce::Prod => x.product(),
            Reduce::Max => x.fold(f64::NEG_INFINITY, f64::max),
            Reduce::Min => x.fold(f64::INFINITY, f64::min),
            Reduce::SumSquare => x.map(|v| v * v).sum(),
            Reduce::MeanSquare => x.map(|v| v * v).sum::<f64>() / n,
            Reduce::MaxAbs => x.fold(f64::NEG_INFINITY, |m, v| m.max(v.abs())),
            Reduce::L1 => x.map(f64::abs).sum(),
            Reduce::L2 => x.map(|v| v * v).sum::<f64>().sqrt(),
            Reduce::LogSum => sum.ln(),
            Reduce::LogSumExp => x.map(f64::exp).sum::<f64>().ln(),
        }
    }

    #[test]
    fn all_of_them() {
        use Reduce as R;
        let shapes = [
            (1, 1, 1),
            (3, 7, 1),
            (2, 16, 1),
            (5, 1000, 1),
            (1, 5003, 1),
            (2, 3, 5),
            (1, 129, 33),
            (3, 10, 300),
            (2, 0, 3),
            (2, 0, 1),
            (0, 4, 4),
        ];
        let squares = [R::SumSquare, R::MeanSquare, R::MaxAbs, R::L1, R::L2];
        for op in [R::Sum, R::Mean, R::Prod, R::Max, R::Min, R::LogSum, R::LogSumExp].into_iter().chain(squares) {
            for (outer, len, inner) in shapes {
                // Positive numbers near 1 keep products and logarithms in range.
                let x: Vec<f32> = Rng::new(9).vec(outer * len * inner).iter().map(|v| 1.0 + v / 50.0).collect();
                let want: Vec<f64> = (0..outer * inner)
                    .map(|i| {
                        let at = i / inner * len * inner + i % inner;
                        naive(op, (0..len).map(|r| f64::from(x[at + r * inner])))
                    })
                    .collect();
                every(
                    outer * inner,
                    |isa, par, y| reduce(isa, par, op, outer, len, inner, &x, y),
                    |tier, y| close(y, &want, 1e-5, &format!("{tier} {op:?} {outer}x{len}x{inner}")),
                );
            }
        }
    }

    #[test]
    fn nan_wins() {
        for op in [Reduce::Max, Reduce::Min, Reduce::MaxAbs] {
            for (outer, len, inner) in [(1, 100, 1), (1, 5, 1), (1, 7, 33)] {
                for at in 0..len {
                    let mut x = Rng::new(3).vec(outer * len * inner);
                    x[at * inner] = f32::NAN;
                    every(
                        outer * inner,
                        |isa, par, y| reduce(isa, par, op, outer, len, inner, &x, y),
                        |tier, y| {
                            assert!(y[0].is_nan() && y[1..].iter().all(|v| v.is_finite()), "{tier} {op:?} at {at}");
                        },
                    );
                }
            }
        }
    }

    #[test]
    fn logarithm_of_large_exponentials() {
        let x = [1000.0, 1000.0, -1000.0, f32::NEG_INFINITY];
        every(
            1,
            |isa, par, y| reduce(isa, par, Reduce::LogSumExp, 1, 4, 1, &x, y),
            |tier, y| {
                close(y, &[1000.0 + 2f64.ln()], 1e-6, tier);
            },
        );
    }
}
