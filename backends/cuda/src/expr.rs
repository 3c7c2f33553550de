//! Instructions of a scalar program ([`Expr`]) for one element.
//!
//! A value lies in a register of its type's [`class`]: bools in predicates; integers up to 32 bits extended to 32; 16-bit
//! floats as the f32 of the same value, rounded after each instruction, as the kernel IR wants it. Integer instructions are
//! exact, those by zero included. `+ - * /`, square root, rounding and conversions are correctly rounded. Of f32, `exp`,
//! `log`, `tanh`, `sigmoid` and `erf` are within 4 ulp where the result is a normal number; the other functions and `pow` are
//! computed in f64 and within 1 ulp (sine, cosine and tangent up to arguments of 2^48). Declined ([`supports`]): functions and
//! remainders of f64, and what has no scalars on a device (8-bit floats, complex numbers, less than a byte, strings).

use crate::math;
use crate::ptx::{Addr, Builder, Class, Cmp, Int2, Op, Operand, Reg, Round, Space, Ty};
use planc_kir::{BinOp, Expr, Inst, Num, UnOp};
use planc_tensor::{DType, bf16, f16};

/// The class of registers that hold a value of an element type; `None` for types that devices do not compute with.
pub fn class(t: DType) -> Option<Class> {
    Some(match t {
        DType::Bool => Class::Pred,
        DType::F32 | DType::F16 | DType::BF16 => Class::F32,
        DType::F64 => Class::F64,
        DType::I8 | DType::U8 | DType::I16 | DType::U16 | DType::I32 | DType::U32 => Class::B32,
        DType::I64 | DType::U64 => Class::B64,
        _ => return None,
    })
}

/// The type of integer and float instructions on values of an element type.
pub fn arithmetic(t: DType) -> Ty {
    match t {
        DType::F64 => Ty::F64,
        DType::I64 => Ty::S64,
        DType::U64 => Ty::U64,
        DType::U8 | DType::U16 | DType::U32 => Ty::U32,
        DType::I8 | DType::I16 | DType::I32 => Ty::S32,
        DType::Bool => Ty::Pred,
        _ => Ty::F32,
    }
}

/// Whether instructions can be given for `expr`.
///
/// # Errors
/// With the reason why not.
pub fn supports(expr: &Expr) -> Result<(), String> {
    for (i, inst) in expr.insts().iter().enumerate() {
        let t = expr.type_of(i as u16);
        if class(t).is_none() {
            return Err(format!("no device arithmetic on {t}"));
        }
        let name = match *inst {
            Inst::Unary(op, _) => {
                let plain = matches!(
                    op,
                    UnOp::Neg
                        | UnOp::Abs
                        | UnOp::Sign
                        | UnOp::Not
                        | UnOp::Floor
                        | UnOp::Ceil
                        | UnOp::Round
                        | UnOp::Sqrt
                        | UnOp::IsNan
                );
                (t == DType::F64 && !plain).then_some(op.name())
            }
            Inst::Binary(op @ (BinOp::Rem | BinOp::Mod | BinOp::Pow), ..) if t == DType::F64 => Some(op.name()),
            _ => None,
        };
        if let Some(name) = name {
            return Err(format!("{name} of f64 is not generated for devices"));
        }
    }
    match expr.args().iter().find(|t| class(**t).is_none()) {
        Some(t) => Err(format!("no device arithmetic on {t}")),
        None => Ok(()),
    }
}

/// The instructions of `expr`, which [`supports`] accepts, for these values of its operands; the value of its result.
pub fn emit(b: &mut Builder, expr: &Expr, args: &[Reg]) -> Reg {
    let mut regs: Vec<Reg> = Vec::with_capacity(expr.insts().len());
    for (i, inst) in expr.insts().iter().enumerate() {
        let t = expr.type_of(i as u16);
        let at = |r: u16| regs[usize::from(r)];
        let known = |r: u16| match expr.insts()[usize::from(r)] {
            Inst::Const(_, n) => Some(n),
            _ => None,
        };
        let v = match *inst {
            Inst::Arg(n) => args[usize::from(n)],
            Inst::Const(_, n) => constant(b, t, n),
            Inst::Unary(op, a) => unary(b, op, expr.type_of(a), at(a)),
            Inst::Binary(op, x, y) => binary(b, op, expr.type_of(x), at(x), at(y), known(y)),
            Inst::Select(c, x, y) => select(b, t, at(c), at(x), at(y)),
            Inst::Cast(_, a) => cast(b, expr.type_of(a), t, at(a)),
        };
        regs.push(v);
    }
    // Expressions are never empty.
    regs.last().copied().unwrap_or(Reg { class: Class::Pred, index: u32::MAX })
}

/// A constant of an element type.
pub fn constant(b: &mut Builder, t: DType, n: Num) -> Reg {
    match (t, n) {
        (DType::Bool, n) => b.setp(Cmp::Ne, Ty::B32, n.as_i64() & 1, 0u32),
        (DType::F64, n) => b.mov(Class::F64, n.as_f64()),
        (DType::F16, n) => b.mov(Class::F32, f16::from_f64(n.as_f64()).to_f32()),
        (DType::BF16, n) => b.mov(Class::F32, bf16::from_f64(n.as_f64()).to_f32()),
        (DType::F32, n) => b.mov(Class::F32, n.as_f64() as f32),
        (DType::I64 | DType::U64, n) => b.mov(Class::B64, n.as_i64()),
        (t, n) => {
            let shift = 64 - t.bits() as u32;
            let v = n.as_i64() << shift;
            let v = if t.is_unsigned() { ((v as u64) >> shift) as i64 } else { v >> shift };
            b.mov(Class::B32, v)
        }
    }
}

/// A 32-bit result wrapped to its type; a float result rounded to it.
pub fn wrapped(b: &mut Builder, t: DType, v: Reg) -> Reg {
    match t {
        DType::I8 => b.cvt(Ty::S32, Ty::S8, None, v),
        DType::U8 => b.int2(Int2::And, Ty::B32, v, 0xffu32),
        DType::U16 => b.int2(Int2::And, Ty::B32, v, 0xffffu32),
        DType::I16 => {
            let high = b.int2(Int2::Shl, Ty::B32, v, 16u32);
            b.int2(Int2::Shr, Ty::S32, high, 16u32)
        }
        DType::F16 | DType::BF16 => {
            let h = to_half(b, t, v);
            of_half(b, t, h)
        }
        _ => v,
    }
}

/// The 16 bits of the f32 `v` rounded to a 16-bit float type.
pub fn to_half(b: &mut Builder, t: DType, v: Reg) -> Reg {
    let to = if t == DType::F16 { Ty::F16 } else { Ty::BF16 };
    b.cvt(to, Ty::F32, Some(Round::Rn), v)
}

/// The f32 of the value with these 16 bits.
pub fn of_half(b: &mut Builder, t: DType, h: Reg) -> Reg {
    if t == DType::F16 {
        return b.cvt(Ty::F32, Ty::F16, None, h);
    }
    let low = b.cvt(Ty::U32, Ty::U16, None, h);
    let bits = b.int2(Int2::Shl, Ty::B32, low, 16u32);
    b.bits(Class::F32, bits)
}

/// `x` where `c` is set, else `y`, both of element type `t`.
pub fn select(b: &mut Builder, t: DType, c: Reg, x: Reg, y: Reg) -> Reg {
    if t == DType::Bool {
        let first = b.both(c, x);
        let not = b.op(Op::Not(Ty::Pred), &[c.into()]);
        let second = b.both(not, y);
        return b.either(first, second);
    }
    b.selp(x.class.ty(), x, y, c)
}

/// 0 of the arithmetic type of `t`.
fn zero(t: DType) -> Operand {
    match t {
        DType::F64 => 0.0f64.into(),
        t if t.is_float() => 0.0f32.into(),
        _ => 0u32.into(),
    }
}

/// The instructions of an operation of one operand of type `t`.
pub fn unary(b: &mut Builder, op: UnOp, t: DType, x: Reg) -> Reg {
    let ty = arithmetic(t);
    if op == UnOp::IsNan {
        return b.setp(Cmp::Nan, ty, x, x);
    }
    if t == DType::Bool {
        return b.op(Op::Not(Ty::Pred), &[x.into()]);
    }
    if !t.is_float() {
        let signed = if ty.bytes() == 8 { Ty::S64 } else { Ty::S32 };
        let bits = if ty.bytes() == 8 { Ty::B64 } else { Ty::B32 };
        let v = match op {
            UnOp::Neg => b.op(Op::Neg(signed), &[x.into()]),
            UnOp::Not => b.op(Op::Not(bits), &[x.into()]),
            UnOp::Sign if t.is_unsigned() => b.int2(Int2::Min, ty, x, 1u32),
            UnOp::Sign => {
                let low = b.int2(Int2::Max, ty, x, -1i32);
                b.int2(Int2::Min, ty, low, 1u32)
            }
            // The smallest integer stays what it is, as wrapping wants it.
            UnOp::Abs if !t.is_unsigned() => {
                let negative = b.op(Op::Neg(ty), &[x.into()]);
                b.int2(Int2::Max, ty, x, negative)
            }
            _ => x,
        };
        return wrapped(b, t, v);
    }
    let integral = |b: &mut Builder, r: Round| b.cvt(ty, ty, Some(r), x);
    let v = match op {
        UnOp::Neg => b.op(Op::Neg(ty), &[x.into()]),
        UnOp::Abs => b.op(Op::Abs(ty), &[x.into()]),
        UnOp::Sign => {
            let one: Operand = if ty == Ty::F64 { 1.0f64.into() } else { 1.0f32.into() };
            let signed = b.op(Op::Copysign(ty), &[x.into(), one]);
            let other = b.setp(Cmp::Equ, ty, x, zero(t));
            b.selp(ty, x, signed, other)
        }
        UnOp::Floor => integral(b, Round::Rmi),
        UnOp::Ceil => integral(b, Round::Rpi),
        UnOp::Round => integral(b, Round::Rni),
        UnOp::Sqrt => b.op(Op::Sqrt(ty), &[x.into()]),
        UnOp::Exp => math::exp(b, x),
        UnOp::Log => math::log(b, x),
        UnOp::Tanh => math::tanh(b, x),
        UnOp::Sigmoid => math::sigmoid(b, x),
        UnOp::Erf => math::erf(b, x),
        _ => math::wide(b, op, x),
    };
    if matches!(op, UnOp::Neg | UnOp::Abs | UnOp::Sign) { v } else { wrapped(b, t, v) }
}

/// The instructions of an operation of two operands of type `t`. `known`: what the second is.
pub fn binary(b: &mut Builder, op: BinOp, t: DType, x: Reg, y: Reg, known: Option<Num>) -> Reg {
    let ty = arithmetic(t);
    let compare = |b: &mut Builder, c: Cmp| b.setp(c, ty, x, y);
    if t == DType::Bool {
        return match op {
            BinOp::And => b.both(x, y),
            BinOp::Or => b.either(x, y),
            BinOp::Eq => {
                let differ = b.int2(Int2::Xor, Ty::Pred, x, y);
                b.op(Op::Not(Ty::Pred), &[differ.into()])
            }
            _ => b.int2(Int2::Xor, Ty::Pred, x, y),
        };
    }
    match op {
        BinOp::Eq => return compare(b, Cmp::Eq),
        BinOp::Ne if t.is_float() => return compare(b, Cmp::Neu),
        BinOp::Ne => return compare(b, Cmp::Ne),
        BinOp::Lt => return compare(b, Cmp::Lt),
        BinOp::Le => return compare(b, Cmp::Le),
        BinOp::Gt => return compare(b, Cmp::Gt),
        BinOp::Ge => return compare(b, Cmp::Ge),
        _ => {}
    }
    let v = if t.is_float() {
        match op {
            BinOp::Add => b.add(ty, x, y),
            BinOp::Sub => b.sub(ty, x, y),
            BinOp::Mul => b.mul(ty, x, y),
            BinOp::Div => b.op(Op::Div(ty), &[x.into(), y.into()]),
            BinOp::Min => extremum(b, t, x, y, false),
            BinOp::Max => extremum(b, t, x, y, true),
            BinOp::Rem => math::remainder(b, x, y),
            BinOp::Mod => {
                let r = math::remainder(b, x, y);
                let moved = b.add(ty, r, y);
                let (low, below) = (b.setp(Cmp::Lt, ty, r, zero(t)), b.setp(Cmp::Lt, ty, y, zero(t)));
                let differ = b.int2(Int2::Xor, Ty::Pred, low, below);
                let some = b.setp(Cmp::Neu, ty, r, zero(t));
                let move_it = b.both(differ, some);
                b.selp(ty, moved, r, move_it)
            }
            _ => power(b, x, y, known),
        }
    } else {
        integer(b, op, t, x, y, known)
    };
    if matches!(op, BinOp::Min | BinOp::Max) { v } else { wrapped(b, t, v) }
}

/// The smaller or larger; NaN if either is.
pub fn extremum(b: &mut Builder, t: DType, x: Reg, y: Reg, max: bool) -> Reg {
    let ty = arithmetic(t);
    let src = [x.into(), y.into()];
    match (ty, max) {
        (Ty::F32, true) => b.op(Op::MaxNan, &src),
        (Ty::F32, false) => b.op(Op::MinNan, &src),
        (Ty::F64, max) => {
            let v = b.op(if max { Op::FMax(ty) } else { Op::FMin(ty) }, &src);
            let nan = b.setp(Cmp::Nan, ty, x, y);
            b.selp(ty, f64::NAN, v, nan)
        }
        (_, true) => b.int2(Int2::Max, ty, x, y),
        (_, false) => b.int2(Int2::Min, ty, x, y),
    }
}

/// A power of f32; small constant exponents by products.
fn power(b: &mut Builder, x: Reg, y: Reg, known: Option<Num>) -> Reg {
    let one = 1.0f32;
    match known.map(Num::as_f64) {
        Some(1.0) => x,
        Some(2.0) => b.mul(Ty::F32, x, x),
        Some(3.0) => {
            let square = b.mul(Ty::F32, x, x);
            b.mul(Ty::F32, square, x)
        }
        Some(-1.0) => b.op(Op::Div(Ty::F32), &[one.into(), x.into()]),
        _ => math::pow(b, x, y),
    }
}

fn integer(b: &mut Builder, op: BinOp, t: DType, x: Reg, y: Reg, known: Option<Num>) -> Reg {
    let ty = arithmetic(t);
    let bits = if ty.bytes() == 8 { Ty::B64 } else { Ty::B32 };
    match op {
        BinOp::Add => b.add(ty, x, y),
        BinOp::Sub => b.sub(ty, x, y),
        BinOp::Mul => b.mul(ty, x, y),
        BinOp::Min => b.int2(Int2::Min, ty, x, y),
        BinOp::Max => b.int2(Int2::Max, ty, x, y),
        BinOp::And => b.int2(Int2::And, bits, x, y),
        BinOp::Or => b.int2(Int2::Or, bits, x, y),
        BinOp::Xor => b.int2(Int2::Xor, bits, x, y),
        BinOp::Shl | BinOp::Shr => {
            // Counts above the width, negative ones among them, shift everything out.
            let count = if ty.bytes() == 8 {
                let at_most = b.int2(Int2::Min, Ty::U64, y, 64u32);
                b.cvt(Ty::U32, Ty::U64, None, at_most)
            } else {
                y
            };
            if op == BinOp::Shl {
                return b.int2(Int2::Shl, bits, x, count);
            }
            let x = match t {
                DType::I8 => b.int2(Int2::And, Ty::B32, x, 0xffu32),
                DType::I16 => b.int2(Int2::And, Ty::B32, x, 0xffffu32),
                _ => x,
            };
            b.int2(Int2::Shr, if ty.bytes() == 8 { Ty::U64 } else { Ty::U32 }, x, count)
        }
        BinOp::Div => divide(b, ty, x, y, known, false),
        BinOp::Rem => divide(b, ty, x, y, known, true),
        BinOp::Mod => {
            let r = divide(b, ty, x, y, known, true);
            if !ty.is_signed() {
                return r;
            }
            let moved = b.add(ty, r, y);
            let (low, below) = (b.setp(Cmp::Lt, ty, r, 0u32), b.setp(Cmp::Lt, ty, y, 0u32));
            let differ = b.int2(Int2::Xor, Ty::Pred, low, below);
            let some = b.setp(Cmp::Ne, ty, r, 0u32);
            let move_it = b.both(differ, some);
            b.selp(ty, moved, r, move_it)
        }
        _ => integer_power(b, ty, x, y),
    }
}

/// Quotient or remainder; by zero 0, and the smallest integer by -1 wraps.
fn divide(b: &mut Builder, ty: Ty, x: Reg, y: Reg, known: Option<Num>, remainder: bool) -> Reg {
    let op = if remainder { Int2::Rem } else { Int2::Div };
    if known.is_some_and(|n| !matches!(n.as_i64(), 0 | -1)) {
        return b.int2(op, ty, x, y);
    }
    let by_zero = b.setp(Cmp::Eq, ty, y, 0u32);
    if !ty.is_signed() {
        let safe = b.selp(ty, 1u32, y, by_zero);
        let v = b.int2(op, ty, x, safe);
        return b.selp(ty, 0u32, v, by_zero);
    }
    let by_minus = b.setp(Cmp::Eq, ty, y, -1i32);
    let special = b.either(by_zero, by_minus);
    let safe = b.selp(ty, 1u32, y, special);
    let v = b.int2(op, ty, x, safe);
    if remainder {
        return b.selp(ty, 0u32, v, special);
    }
    let negative = b.op(Op::Neg(ty), &[x.into()]);
    let v = b.selp(ty, negative, v, by_minus);
    b.selp(ty, 0u32, v, by_zero)
}

/// A wrapping power by squaring; a negative exponent truncates the fraction.
fn integer_power(b: &mut Builder, ty: Ty, x: Reg, y: Reg) -> Reg {
    let bits = if ty.bytes() == 8 { Ty::B64 } else { Ty::B32 };
    let unsigned = if ty.bytes() == 8 { Ty::U64 } else { Ty::U32 };
    let (result, square, rest) = (b.mov(x.class, 1u32), b.mov(x.class, x), b.mov(x.class, y));
    if ty.is_signed() {
        // 1 and -1 are their own inverses; all others have inverses below 1.
        let negative = b.setp(Cmp::Lt, ty, y, 0u32);
        let plus = b.add(ty, x, 1u32);
        let other = b.setp(Cmp::Gt, unsigned, plus, 2u32);
        let zero = b.setp(Cmp::Eq, ty, x, 0u32);
        let fraction = b.either(other, zero);
        let fraction = b.both(fraction, negative);
        let start = b.selp(ty, 0u32, result, fraction);
        b.set(result, start);
        let positive = b.op(Op::Neg(ty), &[y.into()]);
        b.assign(rest, Op::Selp(ty), &[positive.into(), y.into(), negative.into()]);
    }
    b.while_loop(
        |b| b.setp(Cmp::Ne, bits, rest, 0u32),
        |b| {
            let low = b.int2(Int2::And, bits, rest, 1u32);
            let odd = b.setp(Cmp::Ne, bits, low, 0u32);
            let product = b.mul(ty, result, square);
            b.assign(result, Op::Selp(ty), &[product.into(), result.into(), odd.into()]);
            let next = b.mul(ty, square, square);
            b.set(square, next);
            b.assign(rest, Op::Int2(Int2::Shr, unsigned), &[rest.into(), 1u32.into()]);
        },
    );
    result
}

/// `v` of type `from` converted to type `to`.
pub fn cast(b: &mut Builder, from: DType, to: DType, v: Reg) -> Reg {
    if from == to {
        return v;
    }
    let (f, t) = (arithmetic(from), arithmetic(to));
    if to == DType::Bool {
        return b.setp(if from.is_float() { Cmp::Neu } else { Cmp::Ne }, f, v, zero(from));
    }
    if from == DType::Bool {
        let one: Operand = match to {
            DType::F64 => 1.0f64.into(),
            to if to.is_float() => 1.0f32.into(),
            _ => 1u32.into(),
        };
        return b.selp(t, one, zero(to), v);
    }
    match (from.is_float(), to.is_float()) {
        (true, true) => match (f, to) {
            (Ty::F64, DType::F32) => b.cvt(Ty::F32, Ty::F64, Some(Round::Rn), v),
            (Ty::F64, DType::F16) => {
                let h = b.cvt(Ty::F16, Ty::F64, Some(Round::Rn), v);
                of_half(b, to, h)
            }
            (Ty::F64, _) => {
                // To odd first, so that rounding twice is rounding once.
                let down = b.cvt(Ty::F32, Ty::F64, Some(Round::Rz), v);
                let back = b.cvt(Ty::F64, Ty::F32, None, down);
                let exact = b.setp(Cmp::Eq, Ty::F64, back, v);
                let bits = b.bits(Class::B32, down);
                let odd = b.int2(Int2::Or, Ty::B32, bits, 1u32);
                let bits = b.selp(Ty::B32, bits, odd, exact);
                let rounded = b.bits(Class::F32, bits);
                wrapped(b, to, rounded)
            }
            (_, DType::F64) => b.cvt(Ty::F64, Ty::F32, None, v),
            _ => wrapped(b, to, v),
        },
        (false, true) => {
            let v = b.cvt(t, f, Some(Round::Rn), v);
            wrapped(b, to, v)
        }
        (true, false) => to_integer(b, f, to, v),
        (false, false) => match (f.bytes(), t.bytes()) {
            (4, 8) => b.cvt(t, f, None, v),
            (8, 4) => {
                let low = b.cvt(t, f, None, v);
                wrapped(b, to, low)
            }
            (4, 4) => wrapped(b, to, v),
            _ => v,
        },
    }
}

/// Truncated and clamped; NaN gives 0.
fn to_integer(b: &mut Builder, from: Ty, to: DType, v: Reg) -> Reg {
    let t = arithmetic(to);
    let whole = b.cvt(t, from, Some(Round::Rzi), v);
    let whole = match to {
        DType::U8 | DType::U16 => b.int2(Int2::Min, t, whole, (1u32 << to.bits()) - 1),
        DType::I8 | DType::I16 => {
            let top = (1i32 << (to.bits() - 1)) - 1;
            let low = b.int2(Int2::Min, t, whole, top);
            b.int2(Int2::Max, t, low, -top - 1)
        }
        _ => whole,
    };
    let nan = b.setp(Cmp::Nan, from, v, v);
    b.selp(t, 0u32, whole, nan)
}

/// The type that elements are read and written with.
pub fn memory(t: DType) -> Ty {
    match t {
        DType::F32 => Ty::F32,
        DType::F64 => Ty::F64,
        DType::F16 | DType::BF16 => Ty::B16,
        DType::I8 => Ty::S8,
        DType::U8 | DType::Bool => Ty::U8,
        DType::I16 => Ty::S16,
        DType::U16 => Ty::U16,
        DType::I64 | DType::U64 => Ty::B64,
        _ => Ty::B32,
    }
}

/// Reads an element.
pub fn load(b: &mut Builder, space: Space, t: DType, at: impl Into<Addr>) -> Reg {
    let dst = match t {
        DType::F16 | DType::BF16 => b.reg(Class::B16),
        DType::Bool => b.reg(Class::B32),
        _ => b.reg(class(t).unwrap_or(Class::B32)),
    };
    b.emit(Op::Ld(space, memory(t), 1), &[dst], &[at.into().into()]);
    loaded(b, t, dst)
}

/// The value whose memory's bits are in `raw`.
fn loaded(b: &mut Builder, t: DType, raw: Reg) -> Reg {
    match t {
        DType::F16 | DType::BF16 => of_half(b, t, raw),
        DType::Bool => b.setp(Cmp::Ne, Ty::B32, raw, 0u32),
        _ => raw,
    }
}

/// What is written for a value.
fn stored(b: &mut Builder, t: DType, v: Reg) -> Reg {
    match t {
        DType::F16 | DType::BF16 => to_half(b, t, v),
        DType::Bool => b.selp(Ty::U32, 1u32, 0u32, v),
        _ => v,
    }
}

/// Writes an element.
pub fn store(b: &mut Builder, space: Space, t: DType, at: impl Into<Addr>, v: Reg) {
    let v = stored(b, t, v);
    b.st(space, memory(t), at, v);
}

/// Reads `n` consecutive elements, a multiple of 4; the address is a multiple of their size, 16 bytes at most.
pub fn load_vector(b: &mut Builder, t: DType, n: u32, at: impl Into<Addr>) -> Vec<Reg> {
    let (mut at, mut out) = (at.into(), vec![]);
    while out.len() < n as usize {
        match memory(t).bytes() {
            1 => {
                let word = b.ld(Space::Global, Ty::B32, at);
                for i in 0..4u32 {
                    let ty = if t == DType::I8 { Ty::S32 } else { Ty::U32 };
                    let raw = b.op(Op::Bfe(ty), &[word.into(), (8 * i).into(), 8u32.into()]);
                    out.push(loaded(b, t, raw));
                }
                at = at.plus(4);
            }
            2 => {
                let words = b.ld_vector(Space::Global, Ty::B32, if n.is_multiple_of(8) { 4 } else { 2 }, at);
                at = at.plus(4 * words.len() as i32);
                for w in words {
                    if matches!(t, DType::F16 | DType::BF16) {
                        for h in b.results(Op::Unpack(Ty::B32), &[w.into()]) {
                            out.push(of_half(b, t, h));
                        }
                        continue;
                    }
                    let ty = if t == DType::I16 { Ty::S32 } else { Ty::U32 };
                    for i in 0..2u32 {
                        out.push(b.op(Op::Bfe(ty), &[w.into(), (16 * i).into(), 16u32.into()]));
                    }
                }
            }
            4 => {
                out.extend(b.ld_vector(Space::Global, memory(t), 4, at));
                at = at.plus(16);
            }
            _ => {
                out.extend(b.ld_vector(Space::Global, memory(t), 2, at));
                at = at.plus(16);
            }
        }
    }
    out
}

/// Writes consecutive elements, as [`load_vector`] reads them.
pub fn store_vector(b: &mut Builder, t: DType, at: impl Into<Addr>, values: &[Reg]) {
    let mut at = at.into();
    match memory(t).bytes() {
        1 => {
            for four in values.chunks(4) {
                let mut word = None;
                for (i, v) in four.iter().enumerate() {
                    let raw = stored(b, t, *v);
                    let byte = b.int2(Int2::And, Ty::B32, raw, 0xffu32);
                    let byte = if i == 0 { byte } else { b.int2(Int2::Shl, Ty::B32, byte, 8 * i as u32) };
                    word = Some(word.map_or(byte, |w: Reg| b.int2(Int2::Or, Ty::B32, w, byte)));
                }
                if let Some(w) = word {
                    b.st(Space::Global, Ty::B32, at, w);
                }
                at = at.plus(4);
            }
        }
        2 => {
            let mut words = vec![];
            for pair in values.chunks(2) {
                let raw: Vec<Operand> = pair.iter().map(|v| stored(b, t, *v).into()).collect();
                words.push(if matches!(t, DType::F16 | DType::BF16) {
                    b.op(Op::Pack(Ty::B32), &raw)
                } else {
                    let low = b.op(Op::Int2(Int2::And, Ty::B32), &[raw[0], 0xffffu32.into()]);
                    let high = b.op(Op::Int2(Int2::Shl, Ty::B32), &[raw[1], 16u32.into()]);
                    b.int2(Int2::Or, Ty::B32, low, high)
                });
            }
            for some in words.chunks(4) {
                b.st_vector(Space::Global, Ty::B32, at, some);
                at = at.plus(4 * some.len() as i32);
            }
        }
        size => {
            for some in values.chunks(16 / size as usize) {
                b.st_vector(Space::Global, memory(t), at, some);
                at = at.plus(16);
            }
        }
    }
}
