//! Instructions of scalar programs over f32 and booleans, and conversions to 8 bits, over blocks.
//!
//! One vector loop each, but for functions that have no vector form.

use super::map::Src;
use crate::isa::Simd;
use crate::vmath;
use planc_kir::{BinOp, UnOp};
use planc_tensor::DType;

/// # Safety
/// `a` is a splat or valid for whole vectors covering `n`; so is `dst`.
#[inline(always)]
unsafe fn each1<S: Simd>(s: S, a: Src, dst: *mut f32, n: usize, f: impl Fn(S::V) -> S::V) -> Src {
    let mut i = 0;
    while i < n {
        // SAFETY: as promised by the caller.
        unsafe {
            let x = match a {
                Src::Block(p) => s.load(p.add(i)),
                Src::Splat(v) => s.splat(v),
            };
            s.store(dst.add(i), f(x));
        }
        i += S::LANES;
    }
    Src::Block(dst)
}

/// # Safety
/// As [`each1`], for both operands.
#[inline(always)]
unsafe fn each2<S: Simd>(s: S, a: Src, b: Src, dst: *mut f32, n: usize, f: impl Fn(S::V, S::V) -> S::V) -> Src {
    let mut i = 0;
    // SAFETY: as promised by the caller. The cases are apart so that each loop is free of branches.
    unsafe {
        match (a, b) {
            (Src::Block(p), Src::Block(q)) => {
                while i < n {
                    s.store(dst.add(i), f(s.load(p.add(i)), s.load(q.add(i))));
                    i += S::LANES;
                }
            }
            (Src::Block(p), Src::Splat(v)) => {
                let v = s.splat(v);
                while i < n {
                    s.store(dst.add(i), f(s.load(p.add(i)), v));
                    i += S::LANES;
                }
            }
            (Src::Splat(v), Src::Block(q)) => {
                let v = s.splat(v);
                while i < n {
                    s.store(dst.add(i), f(v, s.load(q.add(i))));
                    i += S::LANES;
                }
            }
            (Src::Splat(v), Src::Splat(w)) => {
                let r = f(s.splat(v), s.splat(w));
                while i < n {
                    s.store(dst.add(i), r);
                    i += S::LANES;
                }
            }
        }
    }
    Src::Block(dst)
}

/// One element at a time, for functions that have no vector form.
///
/// # Safety
/// As [`each1`].
#[inline(always)]
unsafe fn scalar2(a: Src, b: Src, dst: *mut f32, n: usize, f: impl Fn(f32, f32) -> f32) -> Src {
    let at = |src: Src, i: usize| match src {
        // SAFETY: as promised by the caller.
        Src::Block(p) => unsafe { *p.add(i) },
        Src::Splat(v) => v,
    };
    for i in 0..n {
        // SAFETY: as promised by the caller.
        unsafe { dst.add(i).write(f(at(a, i), at(b, i))) };
    }
    Src::Block(dst)
}

/// # Safety
/// As [`each1`].
#[inline(always)]
pub(super) unsafe fn unary<S: Simd>(s: S, op: UnOp, a: Src, dst: *mut f32, n: usize) -> Src {
    let (zero, one) = (s.zero(), s.splat(1.0));
    // Rounding is to nearest; these correct by one where that went the wrong way.
    let floor = |v: S::V| {
        let r = s.round(v);
        s.select(s.lt(v, r), s.sub(r, one), r)
    };
    // SAFETY: as promised by the caller, for every arm.
    unsafe {
        let alone = |f: fn(f32) -> f32| scalar2(a, a, dst, n, |x, _| f(x));
        match op {
            UnOp::Neg => each1(s, a, dst, n, |v| s.sub(s.splat(-0.0), v)),
            UnOp::Abs => each1(s, a, dst, n, |v| s.abs(v)),
            UnOp::Sign => each1(s, a, dst, n, |v| {
                let sign = s.copysign(one, v);
                s.select(s.eq(v, zero), zero, s.select(s.eq(v, v), sign, v))
            }),
            UnOp::Not => each1(s, a, dst, n, |v| s.sub(one, v)),
            UnOp::Floor => each1(s, a, dst, n, floor),
            UnOp::Ceil => each1(s, a, dst, n, |v| {
                let r = s.round(v);
                s.select(s.lt(r, v), s.add(r, one), r)
            }),
            UnOp::Round => each1(s, a, dst, n, |v| s.round(v)),
            UnOp::Sqrt => each1(s, a, dst, n, |v| s.sqrt(v)),
            UnOp::Exp => each1(s, a, dst, n, |v| vmath::exp(s, v)),
            UnOp::Log => each1(s, a, dst, n, |v| vmath::log(s, v)),
            UnOp::Tanh => each1(s, a, dst, n, |v| vmath::tanh(s, v)),
            UnOp::Erf => each1(s, a, dst, n, |v| vmath::erf(s, v)),
            UnOp::Sigmoid => each1(s, a, dst, n, |v| vmath::sigmoid(s, v)),
            UnOp::IsNan => each1(s, a, dst, n, |v| s.select(s.eq(v, v), zero, one)),
            UnOp::Sin => alone(f32::sin),
            UnOp::Cos => alone(f32::cos),
            UnOp::Tan => alone(f32::tan),
            UnOp::Asin => alone(f32::asin),
            UnOp::Acos => alone(f32::acos),
            UnOp::Atan => alone(f32::atan),
            UnOp::Sinh => alone(f32::sinh),
            UnOp::Cosh => alone(f32::cosh),
            UnOp::Asinh => alone(f32::asinh),
            UnOp::Acosh => alone(f32::acosh),
            UnOp::Atanh => alone(f32::atanh),
        }
    }
}

/// Conversions to 8 bits: truncated, saturated, NaN becomes 0. The compiler's own are one element at a time.
///
/// # Safety
/// As [`each1`].
#[inline(always)]
pub(super) unsafe fn saturate<S: Simd>(s: S, to: DType, a: Src, dst: *mut f32, n: usize) -> Src {
    let (low, high) = if to == DType::U8 { (0.0, 255.0) } else { (-128.0, 127.0) };
    // SAFETY: as promised by the caller.
    unsafe {
        each1(s, a, dst, n, |v| {
            let number = s.select(s.eq(v, v), v, s.zero());
            let v = s.min(s.max(number, s.splat(low)), s.splat(high));
            let near = s.round(v);
            // Rounded away from zero: one back.
            let back = s.sub(near, s.copysign(s.splat(1.0), v));
            s.of_bits(s.to_int(s.select(s.lt(s.abs(v), s.abs(near)), back, near)))
        })
    }
}

/// # Safety
/// As [`each2`].
#[inline(always)]
pub(super) unsafe fn binary<S: Simd>(s: S, op: BinOp, a: Src, b: Src, dst: *mut f32, n: usize) -> Src {
    let (zero, one) = (s.zero(), s.splat(1.0));
    let truth = |m: S::M| s.select(m, one, zero);
    // The vector minimum gives its second operand where either is NaN; NaN must win from both sides.
    let min = |x: S::V, y: S::V| s.select(s.eq(x, x), s.min(x, y), x);
    let max = |x: S::V, y: S::V| s.select(s.eq(x, x), s.max(x, y), x);
    // SAFETY: as promised by the caller, for every arm.
    unsafe {
        match op {
            BinOp::Add => each2(s, a, b, dst, n, |x, y| s.add(x, y)),
            BinOp::Sub => each2(s, a, b, dst, n, |x, y| s.sub(x, y)),
            BinOp::Mul => each2(s, a, b, dst, n, |x, y| s.mul(x, y)),
            BinOp::Div => each2(s, a, b, dst, n, |x, y| s.div(x, y)),
            BinOp::Min => each2(s, a, b, dst, n, min),
            BinOp::Max => each2(s, a, b, dst, n, max),
            BinOp::Pow => match b {
                Src::Splat(2.0) => each1(s, a, dst, n, |x| s.mul(x, x)),
                Src::Splat(3.0) => each1(s, a, dst, n, |x| s.mul(s.mul(x, x), x)),
                Src::Splat(0.5) => each1(s, a, dst, n, |x| s.sqrt(x)),
                _ => scalar2(a, b, dst, n, f32::powf),
            },
            BinOp::Rem => scalar2(a, b, dst, n, |x, y| x % y),
            BinOp::Mod => scalar2(a, b, dst, n, |x, y| {
                let r = x % y;
                match r {
                    0.0 => r.copysign(y),
                    _ if (r < 0.0) != (y < 0.0) => r + y,
                    _ => r,
                }
            }),
            BinOp::And => each2(s, a, b, dst, n, |x, y| s.mul(x, y)),
            BinOp::Or => each2(s, a, b, dst, n, |x, y| s.max(x, y)),
            BinOp::Xor => each2(s, a, b, dst, n, |x, y| s.abs(s.sub(x, y))),
            BinOp::Eq => each2(s, a, b, dst, n, |x, y| truth(s.eq(x, y))),
            BinOp::Ne => each2(s, a, b, dst, n, |x, y| s.select(s.eq(x, y), zero, one)),
            BinOp::Lt => each2(s, a, b, dst, n, |x, y| truth(s.lt(x, y))),
            BinOp::Le => each2(s, a, b, dst, n, |x, y| truth(s.le(x, y))),
            BinOp::Gt => each2(s, a, b, dst, n, |x, y| truth(s.lt(y, x))),
            BinOp::Ge => each2(s, a, b, dst, n, |x, y| truth(s.le(y, x))),
            // Shifts take integers only, which `supports` refuses.
            BinOp::Shl | BinOp::Shr => Src::Splat(0.0),
        }
    }
}

/// # Safety
/// As [`each2`], for all three.
#[inline(always)]
pub(super) unsafe fn select<S: Simd>(s: S, c: Src, a: Src, b: Src, dst: *mut f32, n: usize) -> Src {
    // SAFETY: as promised by the caller.
    let at = |src: Src, i: usize| unsafe {
        match src {
            Src::Block(p) => s.load(p.add(i)),
            Src::Splat(v) => s.splat(v),
        }
    };
    let mut i = 0;
    while i < n {
        // SAFETY: as promised by the caller.
        unsafe { s.store(dst.add(i), s.select(s.eq(at(c, i), s.zero()), at(b, i), at(a, i))) };
        i += S::LANES;
    }
    Src::Block(dst)
}
