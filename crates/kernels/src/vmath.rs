//! Elementary functions on vectors, and kernels that apply one to a slice.
//!
//! Errors, checked against f64 on every tier: `exp` 2e-7 relative, `log`, `tanh`, `sigmoid`, `erf` 4e-7 relative (where
//! the result is a normal number), `gelu` and relatives 4e-7 of `max(|y|, small)`. NaN in, NaN out. Polynomials and
//! range reduction are those of [`planc_kir::approx`].

use crate::epilogue::Activation;
use crate::isa::{Isa, Kernel, Simd};
use crate::par::{Parallel, Shared, ranges};
use planc_kir::approx::{self, LN2_HI, LN2_LO};

/// `y[i] = f(x[i])` for `i < len`, a partial vector last. `x` and `y` must be valid for `len` elements, and equal or
/// disjoint; to be used within `unsafe`.
///
/// A macro, because a closure is a function of its own: where the optimiser does not inline it, it is compiled without
/// the instruction set of its surroundings, and every vector operation becomes a call (measured: 26 ns per element of a
/// GELU, instead of 0.5).
macro_rules! each {
    ($s:expr, $x:expr, $y:expr, $len:expr, |$v:ident| $f:expr) => {{
        let (s, x, y, len): (_, *const f32, *mut f32, usize) = ($s, $x, $y, $len);
        let mut i = 0;
        while i < len {
            let whole = i + S::LANES <= len;
            let $v = if whole { s.load(x.add(i)) } else { s.load_n(x.add(i), len - i) };
            let result = $f;
            if whole {
                s.store(y.add(i), result);
            } else {
                s.store_n(y.add(i), len - i, result);
            }
            i += S::LANES;
        }
    }};
}
pub(crate) use each;

/// Combines the values of `len` elements in four accumulators that start at `start`; a partial vector last, whose other
/// lanes are `pad`. `x` must be valid for `len` elements; to be used within `unsafe`. A macro for the reason of [`each`].
macro_rules! fold {
    ($s:expr, $x:expr, $len:expr, ($start:expr, $pad:expr), |$v:ident| $value:expr, |$a:ident, $b:ident| $combined:expr) => {{
        let (s, x, len): (_, *const f32, usize) = ($s, $x, $len);
        let mut acc = [s.splat($start); 4];
        let mut i = 0;
        while i + 4 * S::LANES <= len {
            let mut j = 0;
            while j < 4 {
                let $v = s.load(x.add(i + j * S::LANES));
                let ($a, $b) = (acc[j], $value);
                acc[j] = $combined;
                j += 1;
            }
            i += 4 * S::LANES;
        }
        while i < len {
            let n = S::LANES.min(len - i);
            let $v = if n == S::LANES {
                s.load(x.add(i))
            } else {
                let mut lanes = [$pad; 16];
                std::ptr::copy_nonoverlapping(x.add(i), lanes.as_mut_ptr(), n);
                s.load(lanes.as_ptr())
            };
            let ($a, $b) = (acc[0], $value);
            acc[0] = $combined;
            i += n;
        }
        let ($a, $b) = (acc[0], acc[1]);
        let low = $combined;
        let ($a, $b) = (acc[2], acc[3]);
        let high = $combined;
        let ($a, $b) = (low, high);
        $combined
    }};
}
pub(crate) use fold;

/// Elements of a block of [`sum`].
pub(crate) const SUM_BLOCK: usize = 1024;

/// The sum, in f64, of the values of `len` elements, where the value of `pad` is 0. `x` must be valid for `len` elements; to
/// be used within `unsafe`.
macro_rules! sum {
    ($s:expr, $x:expr, $len:expr, $pad:expr, |$v:ident| $value:expr) => {{
        let (from, all): (*const f32, usize) = ($x, $len);
        let (mut total, mut at) = (0f64, 0);
        while at < all {
            let block = crate::vmath::SUM_BLOCK.min(all - at);
            let part = crate::vmath::fold!($s, from.add(at), block, (0.0, $pad), |$v| $value, |a, b| $s.add(a, b));
            total += f64::from($s.reduce_add(part));
            at += block;
        }
        total
    }};
}
pub(crate) use sum;

/// `c[0] + c[1] x + c[2] x^2 + ...`
#[inline(always)]
pub(crate) fn poly<S: Simd, const N: usize>(s: S, x: S::V, c: [f32; N]) -> S::V {
    let mut y = s.splat(c[N - 1]);
    for i in (0..N - 1).rev() {
        y = s.fma(y, x, s.splat(c[i]));
    }
    y
}

/// Adding and subtracting this rounds to an integer.
const ROUNDER: f32 = 12_582_912.0;

/// Where `e^x` is the smallest normal number.
const LOWEST: f32 = -87.336_5;

/// `e^x`; overflows to infinity above 88.72, and is zero below -87.3365: numbers that are not normal cost a hundred
/// ordinary operations, here and in whatever reads them (measured: a sixth of a detector's time).
#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, x: S::V) -> S::V {
    let lost = s.lt(x, s.splat(LOWEST));
    s.select(lost, s.zero(), exp_within(s, s.min(s.splat(89.0), s.max(s.splat(LOWEST), x))))
}

/// `e^x` for `x` from [`LOWEST`] to 89.
#[inline(always)]
fn exp_within<S: Simd>(s: S, x: S::V) -> S::V {
    let n = s.sub(s.fma(x, s.splat(std::f32::consts::LOG2_E), s.splat(ROUNDER)), s.splat(ROUNDER));
    let r = s.fma(n, s.splat(-LN2_HI), x);
    let r = s.fma(n, s.splat(-LN2_LO), r);
    let p = poly(s, r, approx::EXP);
    s.scale(s.add(s.fma(s.mul(r, r), p, r), s.splat(1.0)), n)
}

/// Natural logarithm: `-inf` at 0, NaN below.
#[inline(always)]
pub(crate) fn log<S: Simd>(s: S, x: S::V) -> S::V {
    let tiny = s.lt(x, s.splat(f32::MIN_POSITIVE));
    let scaled = s.select(tiny, s.mul(x, s.splat(8_388_608.0)), x);
    let bits = s.bits(scaled);
    // The exponent that leaves a mantissa in [sqrt(1/2), sqrt(2)).
    let k = s.isra::<23>(s.isub(bits, s.isplat(0x3f35_04f3)));
    let m = s.of_bits(s.isub(bits, s.ishl::<23>(k)));
    let kf = s.sub(s.to_float(k), s.select(tiny, s.splat(23.0), s.zero()));
    let f = s.sub(m, s.splat(1.0));
    let p = poly(s, f, approx::LOG);
    let f2 = s.mul(f, f);
    let tail = s.fma(kf, s.splat(LN2_LO), s.mul(s.mul(f2, f), p));
    let y = s.fma(kf, s.splat(LN2_HI), s.add(f, s.fma(f2, s.splat(-0.5), tail)));
    let y = s.select(s.lt(x, s.splat(f32::INFINITY)), y, x);
    let y = s.select(s.eq(x, s.zero()), s.splat(f32::NEG_INFINITY), y);
    s.select(s.lt(x, s.zero()), s.splat(f32::NAN), y)
}

/// `log(1 + x)` for `x >= 0`, accurate for small `x` (Kahan's correction).
#[inline(always)]
pub(crate) fn log1p<S: Simd>(s: S, x: S::V) -> S::V {
    let one = s.splat(1.0);
    let u = s.add(x, one);
    let y = s.div(s.mul(log(s, u), x), s.sub(u, one));
    let y = s.select(s.eq(u, one), x, y);
    s.select(s.lt(x, s.splat(f32::INFINITY)), y, x)
}

/// Hyperbolic tangent.
#[inline(always)]
pub(crate) fn tanh<S: Simd>(s: S, x: S::V) -> S::V {
    let a = s.abs(x);
    let z = s.mul(x, x);
    let p = poly(s, z, approx::TANH);
    let small = s.fma(s.mul(z, x), p, x);
    let e = exp_within(s, s.min(s.splat(89.0), s.add(a, a)));
    let big = s.sub(s.splat(1.0), s.div(s.splat(2.0), s.add(e, s.splat(1.0))));
    // NaN fails the comparison, so it must come from the second branch: exp passes it through.
    s.select(s.lt(a, s.splat(0.625)), small, s.copysign(big, x))
}

/// `1 / (1 + e^-x)`, zero where that is not a normal number.
#[inline(always)]
pub(crate) fn sigmoid<S: Simd>(s: S, x: S::V) -> S::V {
    let one = s.splat(1.0);
    let e = exp_within(s, s.max(s.splat(LOWEST), s.min(s.splat(-LOWEST), s.sub(s.zero(), x))));
    s.select(s.lt(x, s.splat(LOWEST)), s.zero(), s.reciprocal(s.add(one, e)))
}

/// `erf(|t|)` for small `|t|` (first) and `erfc(|t|)` for `|t| >= 1` (second).
#[inline(always)]
fn erf_parts<S: Simd>(s: S, t: S::V) -> (S::V, S::V) {
    let a = s.abs(t);
    let z = s.mul(a, a);
    let p = poly(s, z, approx::ERF);
    let b = s.min(s.splat(4.1), a);
    let q = poly(s, b, approx::LOG_ERFC);
    let tail = s.select(s.lt(s.splat(4.1), a), s.zero(), exp_within(s, q));
    (s.mul(a, p), tail)
}

/// The error function.
#[inline(always)]
pub(crate) fn erf<S: Simd>(s: S, x: S::V) -> S::V {
    let (small, tail) = erf_parts(s, x);
    let y = s.select(s.lt(s.abs(x), s.splat(1.0)), small, s.sub(s.splat(1.0), tail));
    s.copysign(y, x)
}

/// `x/2 (1 + erf(x / sqrt 2))`, without cancellation for negative `x`.
#[inline(always)]
pub(crate) fn gelu<S: Simd>(s: S, x: S::V) -> S::V {
    let t = s.mul(x, s.splat(std::f32::consts::FRAC_1_SQRT_2));
    let (small, tail) = erf_parts(s, t);
    let one = s.splat(1.0);
    let big = s.select(s.lt(t, s.zero()), tail, s.sub(s.splat(2.0), tail));
    let w = s.select(s.lt(s.abs(t), one), s.add(one, s.copysign(small, t)), big);
    s.mul(s.mul(x, s.splat(0.5)), w)
}

/// `log(1 + e^x)`
#[inline(always)]
pub(crate) fn softplus<S: Simd>(s: S, x: S::V) -> S::V {
    let e = exp(s, s.sub(s.zero(), s.abs(x)));
    s.add(s.max(s.zero(), x), log1p(s, e))
}

/// A function of one number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unary {
    /// `e^x`
    Exp,
    /// Natural logarithm.
    Log,
    /// The error function.
    Erf,
    /// Square root.
    Sqrt,
    /// `1 / x`
    Reciprocal,
    /// An activation.
    Activation(Activation),
}

/// `y[i] = op(x[i])`.
///
/// # Panics
/// If the lengths differ.
pub fn map(isa: Isa, par: &dyn Parallel, op: Unary, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "lengths of input and output");
    // SAFETY: both slices are valid for their length, and an exclusive slice overlaps nothing.
    unsafe { map_raw(isa, par, op, x.as_ptr(), Shared::new(y), x.len()) }
}

/// `x[i] = op(x[i])`.
pub fn map_in_place(isa: Isa, par: &dyn Parallel, op: Unary, x: &mut [f32]) {
    let p = Shared::new(x);
    // SAFETY: the slice is valid for its length; each element is read before it is written, by one task.
    unsafe { map_raw(isa, par, op, p.get(), p, x.len()) }
}

/// # Safety
/// `x` and `y` must be valid for `len` elements, and equal or disjoint.
unsafe fn map_raw(isa: Isa, par: &dyn Parallel, op: Unary, x: *const f32, y: Shared<f32>, len: usize) {
    let x = Shared::from_const(x);
    ranges(par, len, 4, |r| {
        // SAFETY: ranges are disjoint and within `len`.
        let (x, y) = unsafe { (x.get().add(r.start), y.get().add(r.start)) };
        isa.run(MapKernel { op, x, y, len: r.len() });
    });
}

struct MapKernel {
    op: Unary,
    x: *const f32,
    y: *mut f32,
    len: usize,
}

impl Kernel for MapKernel {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { op, x, y, len } = self;
        // SAFETY: `map_raw` passes pointers valid for `len` elements, equal or disjoint.
        unsafe {
            match op {
                Unary::Exp => each!(s, x, y, len, |v| exp(s, v)),
                Unary::Log => each!(s, x, y, len, |v| log(s, v)),
                Unary::Erf => each!(s, x, y, len, |v| erf(s, v)),
                Unary::Sqrt => each!(s, x, y, len, |v| s.sqrt(v)),
                Unary::Reciprocal => each!(s, x, y, len, |v| s.div(s.splat(1.0), v)),
                Unary::Activation(a) => a.apply_to(s, x, y, len),
            }
        }
    }
}

#[cfg(test)]
mod tests;
