//! Elementary functions of f32.
//!
//! The frequent ones are the f32 polynomials of [`planc_kir::approx`], as on processors; no approximate instruction is used, so
//! every device gives the same bits. The rare ones ([`wide`], [`pow`], [`remainder`]) are computed in f64, by series that are
//! short because arguments are reduced first, and rounded once. NaN in, NaN out.
#![allow(clippy::excessive_precision, reason = "coefficients as fitted; the compiler rounds them")]

use crate::ptx::{Builder, Class, Cmp, Int2, Op, Operand, Reg, Round, Ty};
use planc_kir::UnOp;
use planc_kir::approx::{self, LN2_HI, LN2_LO};
use std::f64::consts::{FRAC_2_PI, FRAC_PI_2, LN_2, LOG2_E};

const F: Ty = Ty::F32;
const D: Ty = Ty::F64;

/// `c[0] + c[1] x + c[2] x^2 + ...`
fn poly(b: &mut Builder, x: Reg, c: &[f32]) -> Reg {
    let mut y = b.mov(Class::F32, c[c.len() - 1]);
    for c in c.iter().rev().skip(1) {
        y = b.mad(F, y, x, *c);
    }
    y
}

/// As [`poly`], in f64.
fn poly64(b: &mut Builder, x: Reg, c: &[f64]) -> Reg {
    let mut y = b.mov(Class::F64, c[c.len() - 1]);
    for c in c.iter().rev().skip(1) {
        y = b.mad(D, y, x, *c);
    }
    y
}

fn op1(b: &mut Builder, op: Op, x: Reg) -> Reg {
    b.op(op, &[x.into()])
}

fn div(b: &mut Builder, t: Ty, x: impl Into<Operand>, y: impl Into<Operand>) -> Reg {
    b.op(Op::Div(t), &[x.into(), y.into()])
}

/// `magnitude` with the sign of `sign`.
fn copysign(b: &mut Builder, t: Ty, magnitude: Reg, sign: Reg) -> Reg {
    b.op(Op::Copysign(t), &[sign.into(), magnitude.into()])
}

/// `e^x`; overflows to infinity, underflows gradually to zero.
pub(crate) fn exp(b: &mut Builder, x: Reg) -> Reg {
    let x = b.op(Op::MaxNan, &[x.into(), (-104.0f32).into()]);
    let x = b.op(Op::MinNan, &[x.into(), 89.0f32.into()]);
    let t = b.mul(F, x, std::f32::consts::LOG2_E);
    let nf = b.cvt(F, F, Some(Round::Rni), t);
    let n = b.cvt(Ty::S32, F, Some(Round::Rzi), nf);
    let r = b.mad(F, nf, -LN2_HI, x);
    let r = b.mad(F, nf, -LN2_LO, r);
    let p = poly(b, r, &approx::EXP);
    let square = b.mul(F, r, r);
    let y = b.mad(F, square, p, r);
    let y = b.add(F, y, 1.0f32);
    // Two factors, because 2^128 and 2^-150 are no normal numbers.
    let half = b.int2(Int2::Shr, Ty::S32, n, 1u32);
    let rest = b.sub(Ty::S32, n, half);
    let mut y = y;
    for n in [half, rest] {
        let biased = b.add(Ty::S32, n, 127u32);
        let bits = b.int2(Int2::Shl, Ty::B32, biased, 23u32);
        let scale = b.bits(Class::F32, bits);
        y = b.mul(F, y, scale);
    }
    y
}

/// Natural logarithm: `-inf` at 0, NaN below.
pub(crate) fn log(b: &mut Builder, x: Reg) -> Reg {
    let tiny = b.setp(Cmp::Lt, F, x, f32::MIN_POSITIVE);
    let larger = b.mul(F, x, 8_388_608.0f32);
    let scaled = b.selp(F, larger, x, tiny);
    let bits = b.bits(Class::B32, scaled);
    // The exponent that leaves a mantissa in [sqrt(1/2), sqrt(2)).
    let above = b.sub(Ty::S32, bits, 0x3f35_04f3u32);
    let k = b.int2(Int2::Shr, Ty::S32, above, 23u32);
    let high = b.int2(Int2::Shl, Ty::B32, k, 23u32);
    let m = b.sub(Ty::S32, bits, high);
    let m = b.bits(Class::F32, m);
    let kf = b.cvt(F, Ty::S32, Some(Round::Rn), k);
    let extra = b.selp(F, 23.0f32, 0.0f32, tiny);
    let kf = b.sub(F, kf, extra);
    let f = b.sub(F, m, 1.0f32);
    let p = poly(b, f, &approx::LOG);
    let f2 = b.mul(F, f, f);
    let f3 = b.mul(F, f2, f);
    let tail = b.mul(F, f3, p);
    let tail = b.mad(F, kf, LN2_LO, tail);
    let tail = b.mad(F, f2, -0.5f32, tail);
    let y = b.add(F, f, tail);
    let y = b.mad(F, kf, LN2_HI, y);
    let finite = b.setp(Cmp::Lt, F, x, f32::INFINITY);
    let y = b.selp(F, y, x, finite);
    let zero = b.setp(Cmp::Eq, F, x, 0.0f32);
    let y = b.selp(F, f32::NEG_INFINITY, y, zero);
    let below = b.setp(Cmp::Lt, F, x, 0.0f32);
    b.selp(F, f32::NAN, y, below)
}

/// Hyperbolic tangent.
pub(crate) fn tanh(b: &mut Builder, x: Reg) -> Reg {
    let a = op1(b, Op::Abs(F), x);
    let z = b.mul(F, x, x);
    let p = poly(b, z, &approx::TANH);
    let cube = b.mul(F, z, x);
    let small = b.mad(F, cube, p, x);
    let twice = b.add(F, a, a);
    let e = exp(b, twice);
    let e = b.add(F, e, 1.0f32);
    let q = div(b, F, 2.0f32, e);
    let big = b.sub(F, 1.0f32, q);
    let big = copysign(b, F, big, x);
    // NaN fails the comparison: exp passes it through.
    let is_small = b.setp(Cmp::Lt, F, a, 0.625f32);
    b.selp(F, small, big, is_small)
}

/// `1 / (1 + e^-x)`
pub(crate) fn sigmoid(b: &mut Builder, x: Reg) -> Reg {
    let negative = op1(b, Op::Neg(F), x);
    let e = exp(b, negative);
    let e = b.add(F, e, 1.0f32);
    op1(b, Op::Rcp(F), e)
}

/// The error function.
pub(crate) fn erf(b: &mut Builder, x: Reg) -> Reg {
    let a = op1(b, Op::Abs(F), x);
    let z = b.mul(F, a, a);
    let p = poly(b, z, &approx::ERF);
    let small = b.mul(F, a, p);
    let bounded = b.op(Op::MinNan, &[a.into(), 4.1f32.into()]);
    let q = poly(b, bounded, &approx::LOG_ERFC);
    let tail = exp(b, q);
    let big = b.sub(F, 1.0f32, tail);
    let is_small = b.setp(Cmp::Lt, F, a, 1.0f32);
    let y = b.selp(F, small, big, is_small);
    copysign(b, F, y, x)
}

// In f64. Arguments come from f32, so that none is subnormal.

/// `e^d`, between 1e-304 and 1e304. Relative error 1e-14. NaN gives one of the bounds.
fn exp64(b: &mut Builder, d: Reg) -> Reg {
    let d = b.op(Op::FMax(D), &[d.into(), (-700.0f64).into()]);
    let d = b.op(Op::FMin(D), &[d.into(), 700.0f64.into()]);
    let t = b.mul(D, d, LOG2_E);
    let nf = b.cvt(D, D, Some(Round::Rni), t);
    let r = b.mad(D, nf, -LN_2, d);
    let r = b.mad(D, nf, -2.319_046_813_846_299_6e-17f64, r);
    let mut c = [1.0f64; 13];
    for i in 1..c.len() {
        c[i] = c[i - 1] / i as f64;
    }
    let p = poly64(b, r, &c);
    let n = b.cvt(Ty::S32, D, Some(Round::Rzi), nf);
    let biased = b.add(Ty::S32, n, 1023u32);
    let high = b.int2(Int2::Shl, Ty::B32, biased, 20u32);
    let bits = b.op(Op::Pack(Ty::B64), &[0u32.into(), high.into()]);
    let scale = b.bits(Class::F64, bits);
    b.mul(D, p, scale)
}

/// Natural logarithm. Relative error 1e-14 but near 1, where the error is 1e-15.
fn log64(b: &mut Builder, d: Reg) -> Reg {
    let bits = b.bits(Class::B64, d);
    let parts = b.results(Op::Unpack(Ty::B64), &[bits.into()]);
    let above = b.sub(Ty::S32, parts[1], 0x3fe6_a09eu32);
    let k = b.int2(Int2::Shr, Ty::S32, above, 20u32);
    let exponent = b.int2(Int2::Shl, Ty::B32, k, 20u32);
    let high = b.sub(Ty::S32, parts[1], exponent);
    let m = b.op(Op::Pack(Ty::B64), &[parts[0].into(), high.into()]);
    let m = b.bits(Class::F64, m);
    let (less, more) = (b.add(D, m, -1.0f64), b.add(D, m, 1.0f64));
    let s = div(b, D, less, more);
    let z = b.mul(D, s, s);
    let c: Vec<f64> = (0..10).map(|i| 2.0 / f64::from(2 * i + 1)).collect();
    let p = poly64(b, z, &c);
    let y = b.mul(D, s, p);
    let kf = b.cvt(D, Ty::S32, Some(Round::Rn), k);
    let y = b.mad(D, kf, LN_2, y);
    let finite = b.setp(Cmp::Ltu, D, d, f64::INFINITY);
    let y = b.selp(D, y, d, finite);
    let zero = b.setp(Cmp::Eq, D, d, 0.0f64);
    let y = b.selp(D, f64::NEG_INFINITY, y, zero);
    let valid = b.setp(Cmp::Ge, D, d, 0.0f64);
    b.selp(D, y, f64::NAN, valid)
}

/// Inverse tangent, by halving the angle twice.
fn atan64(b: &mut Builder, d: Reg) -> Reg {
    let a = op1(b, Op::Abs(D), d);
    let inverse = div(b, D, 1.0f64, a);
    let large = b.setp(Cmp::Gt, D, a, 1.0f64);
    let mut t = b.selp(D, inverse, a, large);
    for _ in 0..2 {
        let square = b.mad(D, t, t, 1.0f64);
        let root = op1(b, Op::Sqrt(D), square);
        let below = b.add(D, root, 1.0f64);
        t = div(b, D, t, below);
    }
    let z = b.mul(D, t, t);
    let c: Vec<f64> = (0..10).map(|i| if i % 2 == 0 { 4.0 } else { -4.0 } / f64::from(2 * i + 1)).collect();
    let p = poly64(b, z, &c);
    let y = b.mul(D, t, p);
    let other = b.sub(D, FRAC_PI_2, y);
    let y = b.selp(D, other, y, large);
    copysign(b, D, y, d)
}

/// Sine and cosine of an angle below 2^48.
fn sin_cos64(b: &mut Builder, d: Reg) -> (Reg, Reg) {
    let t = b.mul(D, d, FRAC_2_PI);
    let nf = b.cvt(D, D, Some(Round::Rni), t);
    let r = b.mad(D, nf, -FRAC_PI_2, d);
    let r = b.mad(D, nf, -6.123_233_995_736_766e-17f64, r);
    // Far beyond, no digit of the angle is left: the result is at least a sine.
    let far = b.setp(Cmp::Gt, D, nf, 9e15f64);
    let below = b.setp(Cmp::Lt, D, nf, -9e15f64);
    let far = b.either(far, below);
    let finite = b.mul(D, d, 0.0f64);
    let r = b.selp(D, finite, r, far);
    let n = b.cvt(Ty::S64, D, Some(Round::Rzi), nf);
    let n = b.cvt(Ty::U32, Ty::U64, None, n);
    let z = b.mul(D, r, r);
    let (mut even, mut odd, mut factor) = (vec![], vec![], 1.0f64);
    for i in 0..9 {
        let k = f64::from(2 * i);
        even.push(factor);
        odd.push(factor / (k + 1.0));
        factor /= -(k + 1.0) * (k + 2.0);
    }
    let cos = poly64(b, z, &even);
    let sin = poly64(b, z, &odd);
    let sin = b.mul(D, sin, r);
    let low = b.int2(Int2::And, Ty::B32, n, 1u32);
    let swap = b.setp(Cmp::Ne, Ty::B32, low, 0u32);
    let turned = |b: &mut Builder, first: Reg, second: Reg, turn: u32| {
        let v = b.selp(D, first, second, swap);
        let quarter = b.add(Ty::U32, n, turn);
        let bit = b.int2(Int2::And, Ty::B32, quarter, 2u32);
        let flip = b.setp(Cmp::Ne, Ty::B32, bit, 0u32);
        let negative = op1(b, Op::Neg(D), v);
        b.selp(D, negative, v, flip)
    };
    (turned(b, cos, sin, 0), turned(b, sin, cos, 1))
}

/// A rare function of an f32, computed in f64.
pub(crate) fn wide(b: &mut Builder, op: UnOp, x: Reg) -> Reg {
    let d = b.cvt(D, F, None, x);
    // x (1 + c0 x^2 + c1 x^4 + ...) where the formula would cancel.
    let near_zero = |b: &mut Builder, y: Reg, below: f64, c: &[f64]| {
        let z = b.mul(D, d, d);
        let p = poly64(b, z, &[&[1.0], c].concat());
        let small = b.mul(D, d, p);
        let a = op1(b, Op::Abs(D), d);
        let is_small = b.setp(Cmp::Lt, D, a, below);
        b.selp(D, small, y, is_small)
    };
    let y = match op {
        UnOp::Sin => sin_cos64(b, d).0,
        UnOp::Cos => sin_cos64(b, d).1,
        UnOp::Tan => {
            let (sin, cos) = sin_cos64(b, d);
            div(b, D, sin, cos)
        }
        UnOp::Asin => {
            let (less, more) = (b.sub(D, 1.0f64, d), b.add(D, d, 1.0f64));
            let product = b.mul(D, less, more);
            let root = op1(b, Op::Sqrt(D), product);
            let t = div(b, D, d, root);
            atan64(b, t)
        }
        UnOp::Acos => {
            let (less, more) = (b.sub(D, 1.0f64, d), b.add(D, d, 1.0f64));
            let t = div(b, D, less, more);
            let t = op1(b, Op::Sqrt(D), t);
            let half = atan64(b, t);
            b.add(D, half, half)
        }
        UnOp::Atan => atan64(b, d),
        UnOp::Sinh | UnOp::Cosh => {
            let e = exp64(b, d);
            let inverse = div(b, D, 1.0f64, e);
            let both = if op == UnOp::Sinh { b.sub(D, e, inverse) } else { b.add(D, e, inverse) };
            let y = b.mul(D, both, 0.5f64);
            if op == UnOp::Sinh {
                near_zero(b, y, 0.5, &[1.0 / 6.0, 1.0 / 120.0, 1.0 / 5040.0, 1.0 / 362_880.0])
            } else {
                y
            }
        }
        UnOp::Asinh => {
            let a = op1(b, Op::Abs(D), d);
            let square = b.mad(D, a, a, 1.0f64);
            let root = op1(b, Op::Sqrt(D), square);
            let sum = b.add(D, a, root);
            let y = log64(b, sum);
            let y = copysign(b, D, y, d);
            near_zero(b, y, 1e-3, &[-1.0 / 6.0, 3.0 / 40.0])
        }
        UnOp::Acosh => {
            let (less, more) = (b.add(D, d, -1.0f64), b.add(D, d, 1.0f64));
            // Two roots, because the product of two infinities of one sign would be no error below 1.
            let (first, second) = (op1(b, Op::Sqrt(D), less), op1(b, Op::Sqrt(D), more));
            let root = b.mul(D, first, second);
            let sum = b.add(D, d, root);
            log64(b, sum)
        }
        // Atanh; all others have formulas of their own.
        _ => {
            let (less, more) = (b.sub(D, 1.0f64, d), b.add(D, d, 1.0f64));
            let q = div(b, D, more, less);
            let y = log64(b, q);
            let y = b.mul(D, y, 0.5f64);
            near_zero(b, y, 1e-3, &[1.0 / 3.0, 1.0 / 5.0])
        }
    };
    let y = b.cvt(F, D, Some(Round::Rn), y);
    let nan = b.setp(Cmp::Nan, F, x, x);
    b.selp(F, x, y, nan)
}

/// `x^y` with the special cases of C (ISO C99, F.9.4.4).
pub(crate) fn pow(b: &mut Builder, x: Reg, y: Reg) -> Reg {
    let a = op1(b, Op::Abs(F), x);
    let (wide_a, wide_y) = (b.cvt(D, F, None, a), b.cvt(D, F, None, y));
    let l = log64(b, wide_a);
    let t = b.mul(D, wide_y, l);
    let e = exp64(b, t);
    let e = b.cvt(F, D, Some(Round::Rn), e);
    let unit = b.setp(Cmp::Eq, F, a, 1.0f32);
    let magnitude = b.selp(F, 1.0f32, e, unit);
    // Whether y is an integer, and an odd one.
    let whole = b.cvt(F, F, Some(Round::Rni), y);
    let integral = b.setp(Cmp::Eq, F, whole, y);
    let half = b.mul(F, y, 0.5f32);
    let whole = b.cvt(F, F, Some(Round::Rni), half);
    let odd = b.setp(Cmp::Neu, F, whole, half);
    let odd = b.both(odd, integral);
    let signed = copysign(b, F, magnitude, x);
    let v = b.selp(F, signed, magnitude, odd);
    let negative = b.setp(Cmp::Lt, F, x, 0.0f32);
    let finite = b.setp(Cmp::Lt, F, a, f32::INFINITY);
    let fraction = b.op(Op::Not(Ty::Pred), &[integral.into()]);
    let invalid = b.both(negative, finite);
    let invalid = b.both(invalid, fraction);
    let nan = b.setp(Cmp::Nan, F, x, y);
    let invalid = b.either(invalid, nan);
    let v = b.selp(F, f32::NAN, v, invalid);
    let zero = b.setp(Cmp::Eq, F, y, 0.0f32);
    let one = b.setp(Cmp::Eq, F, x, 1.0f32);
    let trivial = b.either(zero, one);
    b.selp(F, 1.0f32, v, trivial)
}

/// The exact remainder of f32 with the sign of the dividend.
///
/// Long division in f64: a quotient of 28 bits has an exact product with y, and each round takes 26 bits off.
pub(crate) fn remainder(b: &mut Builder, x: Reg, y: Reg) -> Reg {
    let (dx, dy) = (b.cvt(D, F, None, x), b.cvt(D, F, None, y));
    let r = b.op(Op::Abs(D), &[dx.into()]);
    let divisor = op1(b, Op::Abs(D), dy);
    b.while_loop(
        |b| {
            let a = op1(b, Op::Abs(D), r);
            b.setp(Cmp::Ge, D, a, divisor)
        },
        |b| {
            let q = div(b, D, r, divisor);
            let q = b.cvt(D, D, Some(Round::Rzi), q);
            let bits = b.bits(Class::B64, q);
            let bits = b.int2(Int2::And, Ty::B64, bits, !0x1ff_ffffi64);
            let q = b.bits(Class::F64, bits);
            let negative = op1(b, Op::Neg(D), q);
            b.assign(r, Op::Fma(D), &[negative.into(), divisor.into(), r.into()]);
        },
    );
    // A quotient that was rounded up left a negative rest.
    let moved = b.add(D, r, divisor);
    let low = b.setp(Cmp::Lt, D, r, 0.0f64);
    let r = b.selp(D, moved, r, low);
    let r = b.cvt(F, D, Some(Round::Rn), r);
    let r = copysign(b, F, r, x);
    let nan = b.setp(Cmp::Nan, F, y, y);
    b.selp(F, y, r, nan)
}
