//! Integer instructions of scalar programs, over blocks whose lanes hold i32 in the memory of f32.
//!
//! u8, i8 and i32 are widened to lanes of i32 when they are read and wrap to their own width after each instruction. The
//! loops are plain Rust that the compiler turns into vectors of whatever tier the block runs on.

use super::map::Src;
use planc_kir::{BinOp, Expr, Inst, Reg, UnOp};
use planc_tensor::DType;

/// An integer as what a block holds.
#[inline(always)]
pub(super) fn lane(v: i32) -> f32 {
    f32::from_bits(v as u32)
}

/// Whether blocks compute instruction `r`.
pub(super) fn supports(e: &Expr, r: Reg) -> bool {
    let small = |t: DType| matches!(t, DType::U8 | DType::I8 | DType::I32);
    let known = |t: DType| small(t) || matches!(t, DType::F32 | DType::Bool);
    known(e.type_of(r))
        && match e.insts()[usize::from(r)] {
            Inst::Unary(op, a) if small(e.type_of(a)) => matches!(op, UnOp::Neg | UnOp::Abs),
            Inst::Binary(op, a, _) if small(e.type_of(a)) => {
                op.is_comparison() || matches!(op, BinOp::Add | BinOp::Sub | BinOp::Mul | BinOp::Min | BinOp::Max)
            }
            _ => true,
        }
}

/// `v` as lanes hold a number of type `dtype`.
#[inline(always)]
pub(super) fn wrap(dtype: DType, v: i32) -> i32 {
    match dtype {
        DType::U8 => i32::from(v as u8),
        DType::I8 => i32::from(v as i8),
        _ => v,
    }
}

/// `dst = f(a, b)` for `n` lanes; of splats, a splat.
///
/// # Safety
/// `a` and `b` are splats or valid for `n` lanes; so is `dst`.
#[inline(always)]
unsafe fn each(a: Src, b: Src, dst: *mut f32, n: usize, f: impl Fn(f32, f32) -> f32) -> Src {
    // SAFETY: as promised by the caller. The cases are apart so that each loop is free of branches.
    unsafe {
        match (a, b) {
            (Src::Splat(v), Src::Splat(w)) => return Src::Splat(f(v, w)),
            (Src::Block(p), Src::Splat(w)) => (0..n).for_each(|i| *dst.add(i) = f(*p.add(i), w)),
            (Src::Splat(v), Src::Block(q)) => (0..n).for_each(|i| *dst.add(i) = f(v, *q.add(i))),
            (Src::Block(p), Src::Block(q)) => (0..n).for_each(|i| *dst.add(i) = f(*p.add(i), *q.add(i))),
        }
    }
    Src::Block(dst)
}

/// # Safety
/// As [`each`].
#[inline(always)]
pub(super) unsafe fn unary(op: UnOp, dtype: DType, a: Src, dst: *mut f32, n: usize) -> Src {
    let int = |v: f32| v.to_bits() as i32;
    // SAFETY: as promised by the caller.
    unsafe {
        match op {
            UnOp::Abs => each(a, a, dst, n, |v, _| lane(wrap(dtype, int(v).wrapping_abs()))),
            _ => each(a, a, dst, n, |v, _| lane(wrap(dtype, int(v).wrapping_neg()))),
        }
    }
}

/// # Safety
/// As [`each`].
#[inline(always)]
pub(super) unsafe fn binary(op: BinOp, dtype: DType, a: Src, b: Src, dst: *mut f32, n: usize) -> Src {
    let int = |v: f32| v.to_bits() as i32;
    let truth = |v: bool| if v { 1.0 } else { 0.0 };
    // SAFETY: as promised by the caller, for every arm.
    unsafe {
        match op {
            BinOp::Add => each(a, b, dst, n, |v, w| lane(wrap(dtype, int(v).wrapping_add(int(w))))),
            BinOp::Sub => each(a, b, dst, n, |v, w| lane(wrap(dtype, int(v).wrapping_sub(int(w))))),
            BinOp::Mul => each(a, b, dst, n, |v, w| lane(wrap(dtype, int(v).wrapping_mul(int(w))))),
            BinOp::Min => each(a, b, dst, n, |v, w| lane(int(v).min(int(w)))),
            BinOp::Max => each(a, b, dst, n, |v, w| lane(int(v).max(int(w)))),
            BinOp::Eq => each(a, b, dst, n, |v, w| truth(int(v) == int(w))),
            BinOp::Ne => each(a, b, dst, n, |v, w| truth(int(v) != int(w))),
            BinOp::Lt => each(a, b, dst, n, |v, w| truth(int(v) < int(w))),
            BinOp::Le => each(a, b, dst, n, |v, w| truth(int(v) <= int(w))),
            BinOp::Gt => each(a, b, dst, n, |v, w| truth(int(v) > int(w))),
            _ => each(a, b, dst, n, |v, w| truth(int(v) >= int(w))),
        }
    }
}

/// Conversions from and to integers, but for those from f32 to 8 bits.
///
/// # Safety
/// As [`each`].
#[inline(always)]
pub(super) unsafe fn cast(to: DType, from: DType, a: Src, dst: *mut f32, n: usize) -> Src {
    let int = |v: f32| v.to_bits() as i32;
    // SAFETY: as promised by the caller, for every arm.
    unsafe {
        match (to, from) {
            (DType::F32, _) => each(a, a, dst, n, |v, _| int(v) as f32),
            (DType::Bool, _) => each(a, a, dst, n, |v, _| if int(v) != 0 { 1.0 } else { 0.0 }),
            (_, DType::Bool) => each(a, a, dst, n, |v, _| lane(i32::from(v != 0.0))),
            // `as` truncates, saturates and turns NaN into 0.
            (_, DType::F32) => each(a, a, dst, n, |v, _| lane(v as i32)),
            _ => each(a, a, dst, n, |v, _| lane(wrap(to, int(v)))),
        }
    }
}
