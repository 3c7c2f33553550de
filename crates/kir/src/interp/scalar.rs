//! Scalars and expressions over them. The semantics are those that `expr.rs` fixes for every generator.

use super::{InterpError, Result};
use crate::{BinOp, Expr, Inst, Num, UnOp};
use planc_tensor::{DType, bf16_from_f64, f16_from_f64};

/// A number of some element type; the type is known from the context. Bools are integers 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar {
    /// An element of a float type, exactly.
    Float(f64),
    /// An element of an integer type, or a bool.
    Int(i128),
}

impl Scalar {
    /// The value as a float.
    pub fn as_f64(self) -> f64 {
        match self {
            Scalar::Float(v) => v,
            Scalar::Int(v) => v as f64,
        }
    }

    /// Whether the value is not zero (NaN is not).
    pub fn is_true(self) -> bool {
        match self {
            Scalar::Float(v) => v != 0.0,
            Scalar::Int(v) => v != 0,
        }
    }

    /// The sum; integers wrap at 128 bits, which wraps right in every narrower type.
    pub(super) fn plus(self, other: Scalar) -> Scalar {
        match (self, other) {
            (Scalar::Int(a), Scalar::Int(b)) => Scalar::Int(a.wrapping_add(b)),
            (a, b) => Scalar::Float(a.as_f64() + b.as_f64()),
        }
    }

    /// The product, as [`Scalar::plus`].
    pub(super) fn times(self, other: Scalar) -> Scalar {
        match (self, other) {
            (Scalar::Int(a), Scalar::Int(b)) => Scalar::Int(a.wrapping_mul(b)),
            (a, b) => Scalar::Float(a.as_f64() * b.as_f64()),
        }
    }

    /// The larger (or smaller); NaN if either is NaN.
    pub(super) fn extremum(self, other: Scalar, max: bool) -> Scalar {
        match (self, other) {
            (Scalar::Int(a), Scalar::Int(b)) => Scalar::Int(if max { a.max(b) } else { a.min(b) }),
            (a, b) => {
                let (a, b) = (a.as_f64(), b.as_f64());
                Scalar::Float(match () {
                    () if a.is_nan() || b.is_nan() => f64::NAN,
                    () if max => a.max(b),
                    () => a.min(b),
                })
            }
        }
    }

    /// Zero of a type.
    pub(super) fn zero(dtype: DType) -> Scalar {
        if dtype.is_float() { Scalar::Float(0.0) } else { Scalar::Int(0) }
    }
}

/// The smallest and largest element of an integer type or bool.
pub(super) fn int_range(dtype: DType) -> (i128, i128) {
    match dtype {
        DType::Bool => (0, 1),
        d if d.is_unsigned() => (0, (1i128 << d.bits()) - 1),
        d => (-(1i128 << (d.bits() - 1)), (1i128 << (d.bits() - 1)) - 1),
    }
}

/// `v` modulo the type's width.
fn wrap(dtype: DType, v: i128) -> i128 {
    let (low, high) = int_range(dtype);
    if dtype == DType::Bool {
        return v & 1;
    }
    (v.wrapping_sub(low)).rem_euclid(high - low + 1) + low
}

/// Layout of an 8-bit float: exponent and mantissa bits, bias, and which patterns are not finite.
struct Minifloat {
    mantissa: i32,
    bias: i32,
    max: f64,
    infinite: bool,
}

fn minifloat(dtype: DType) -> Option<Minifloat> {
    Some(match dtype {
        DType::F8E4M3FN => Minifloat { mantissa: 3, bias: 7, max: 448.0, infinite: false },
        DType::F8E4M3FNUZ => Minifloat { mantissa: 3, bias: 8, max: 240.0, infinite: false },
        DType::F8E5M2 => Minifloat { mantissa: 2, bias: 15, max: 57344.0, infinite: true },
        DType::F8E5M2FNUZ => Minifloat { mantissa: 2, bias: 16, max: 57344.0, infinite: false },
        _ => return None,
    })
}

/// The element nearest to `v`, ties to even; 8-bit floats saturate.
///
/// # Errors
/// For types that are not floats.
pub fn round_float(dtype: DType, v: f64) -> Result<f64> {
    Ok(match dtype {
        DType::F64 => v,
        DType::F32 => f64::from(v as f32),
        DType::F16 => f16_from_f64(v).to_f64(),
        DType::BF16 => bf16_from_f64(v).to_f64(),
        _ => {
            let m = minifloat(dtype).ok_or_else(|| InterpError::Unsupported(format!("{dtype} is not interpreted")))?;
            if v.is_nan() || v == 0.0 {
                return Ok(v);
            }
            let exponent = v.abs().log2().floor().clamp(f64::from(1 - m.bias), 64.0);
            let unit = 2f64.powf(exponent - f64::from(m.mantissa));
            let nearest = (v / unit).round_ties_even() * unit;
            nearest.clamp(-m.max, m.max)
        }
    })
}

/// The value of an 8-bit float's bits.
pub(super) fn decode8(dtype: DType, bits: u8) -> Option<f64> {
    let m = minifloat(dtype)?;
    let fnuz = matches!(dtype, DType::F8E4M3FNUZ | DType::F8E5M2FNUZ);
    let sign = if bits & 0x80 == 0 { 1.0 } else { -1.0 };
    let low = i32::from(bits & 0x7f);
    let (exponent, fraction) = (low >> m.mantissa, low & ((1 << m.mantissa) - 1));
    let top = 0x7f >> m.mantissa;
    Some(match () {
        () if fnuz && bits == 0x80 => f64::NAN,
        () if dtype == DType::F8E4M3FN && low == 0x7f => f64::NAN,
        () if m.infinite && exponent == top && fraction == 0 => sign * f64::INFINITY,
        () if m.infinite && exponent == top => f64::NAN,
        () if exponent == 0 => sign * f64::from(fraction) * 2f64.powi(1 - m.bias - m.mantissa),
        () => sign * f64::from(fraction + (1 << m.mantissa)) * 2f64.powi(exponent - m.bias - m.mantissa),
    })
}

/// The bits of an 8-bit float that [`round_float`] gave.
pub(super) fn encode8(dtype: DType, v: f64) -> Option<u8> {
    let same = |b: &u8| decode8(dtype, *b).is_some_and(|d| d == v && d.is_sign_negative() == v.is_sign_negative());
    let nan = |b: &u8| decode8(dtype, *b).is_some_and(f64::is_nan);
    if v.is_nan() { (0..=255).find(nan) } else { (0..=255).find(same).or_else(|| (v == 0.0).then_some(0)) }
}

/// The value of `expr` for these elements of its operands.
///
/// # Errors
/// When an operand is missing or a type is not interpreted.
pub fn eval_expr(expr: &Expr, args: &[Scalar]) -> Result<Scalar> {
    let mut regs: Vec<Scalar> = Vec::with_capacity(expr.insts().len());
    for (i, inst) in expr.insts().iter().enumerate() {
        let dtype = expr.type_of(i as u16);
        let at = |r: u16| regs[usize::from(r)];
        let v = match *inst {
            Inst::Arg(n) => {
                let arg = args.get(usize::from(n)).copied();
                match arg.ok_or_else(|| InterpError::Arity(format!("operand {n} of the expression is missing")))? {
                    Scalar::Int(v) if dtype.is_int() || dtype == DType::Bool => Scalar::Int(wrap(dtype, v)),
                    Scalar::Float(v) if dtype.is_float() => Scalar::Float(v),
                    _ => return Err(InterpError::Type(format!("operand {n} of the expression is no {dtype}"))),
                }
            }
            Inst::Const(_, Num::Float(bits)) => Scalar::Float(round_float(dtype, f64::from_bits(bits))?),
            Inst::Const(_, Num::Int(v)) => Scalar::Int(wrap(dtype, i128::from(v))),
            Inst::Unary(op, a) => unary(op, dtype, at(a))?,
            Inst::Binary(op, a, b) => binary(op, expr.type_of(a), dtype, at(a), at(b))?,
            Inst::Select(c, a, b) => {
                if at(c).is_true() {
                    at(a)
                } else {
                    at(b)
                }
            }
            Inst::Cast(_, a) => cast(dtype, at(a))?,
        };
        regs.push(v);
    }
    regs.last().copied().ok_or_else(|| InterpError::Arity("the expression is empty".into()))
}

/// The result of a float instruction: 16-bit types compute in f32.
fn computed(dtype: DType, v: f64) -> Result<Scalar> {
    let v = if matches!(dtype, DType::F16 | DType::BF16) { f64::from(v as f32) } else { v };
    Ok(Scalar::Float(round_float(dtype, v)?))
}

fn unary(op: UnOp, dtype: DType, a: Scalar) -> Result<Scalar> {
    let x = match a {
        Scalar::Int(v) => {
            return Ok(Scalar::Int(match op {
                UnOp::Neg => wrap(dtype, -v),
                UnOp::Abs => wrap(dtype, v.abs()),
                UnOp::Sign => v.signum(),
                UnOp::Not if dtype == DType::Bool => 1 - v,
                UnOp::Not => wrap(dtype, !v),
                _ => return Err(InterpError::Type(format!("{} of integers", op.name()))),
            }));
        }
        Scalar::Float(x) => x,
    };
    let v = match op {
        UnOp::IsNan => return Ok(Scalar::Int(x.is_nan().into())),
        UnOp::Not => return Err(InterpError::Type("not of floats".into())),
        UnOp::Neg => -x,
        UnOp::Abs => x.abs(),
        UnOp::Sign if x.is_nan() || x == 0.0 => x,
        UnOp::Sign => x.signum(),
        UnOp::Floor => x.floor(),
        UnOp::Ceil => x.ceil(),
        UnOp::Round => x.round_ties_even(),
        UnOp::Sqrt => x.sqrt(),
        UnOp::Exp => x.exp(),
        UnOp::Log => x.ln(),
        UnOp::Sin => x.sin(),
        UnOp::Cos => x.cos(),
        UnOp::Tan => x.tan(),
        UnOp::Asin => x.asin(),
        UnOp::Acos => x.acos(),
        UnOp::Atan => x.atan(),
        UnOp::Sinh => x.sinh(),
        UnOp::Cosh => x.cosh(),
        UnOp::Tanh => x.tanh(),
        UnOp::Asinh => x.asinh(),
        UnOp::Acosh => x.acosh(),
        UnOp::Atanh => x.atanh(),
        UnOp::Erf => erf(x),
        UnOp::Sigmoid => sigmoid(x),
    };
    computed(dtype, v)
}

/// 1 / (1 + exp(-x)).
pub(super) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The error function (Abramowitz and Stegun 7.1.6 below 3, the continued fraction 7.1.14 above).
pub(crate) fn erf(x: f64) -> f64 {
    let a = x.abs();
    if x.is_nan() || a > 6.0 {
        return if x.is_nan() { x } else { x.signum() };
    }
    let v = if a < 3.0 {
        let (mut term, mut sum, mut n) = (a, a, 0.0);
        while term > sum * 1e-17 {
            n += 1.0;
            term *= 2.0 * a * a / (2.0 * n + 1.0);
            sum += term;
        }
        2.0 / std::f64::consts::PI.sqrt() * (-a * a).exp() * sum
    } else {
        let fraction = (1..=60).rev().fold(a, |below, k| a + f64::from(k) / 2.0 / below);
        1.0 - (-a * a).exp() / (std::f64::consts::PI.sqrt() * fraction)
    };
    v.copysign(x)
}

fn binary(op: BinOp, operands: DType, dtype: DType, a: Scalar, b: Scalar) -> Result<Scalar> {
    let truth = |v: bool| Ok(Scalar::Int(v.into()));
    match (a, b) {
        (Scalar::Int(a), Scalar::Int(b)) => match op {
            BinOp::Eq => truth(a == b),
            BinOp::Ne => truth(a != b),
            BinOp::Lt => truth(a < b),
            BinOp::Le => truth(a <= b),
            BinOp::Gt => truth(a > b),
            BinOp::Ge => truth(a >= b),
            _ => Ok(Scalar::Int(wrap(dtype, integer(op, dtype, a, b)))),
        },
        (Scalar::Float(a), Scalar::Float(b)) => match op {
            BinOp::Eq => truth(a == b),
            BinOp::Ne => truth(a != b),
            BinOp::Lt => truth(a < b),
            BinOp::Le => truth(a <= b),
            BinOp::Gt => truth(a > b),
            BinOp::Ge => truth(a >= b),
            _ => computed(dtype, float(op, a, b)?),
        },
        _ => Err(InterpError::Type(format!("{} of operands that are not both {operands}", op.name()))),
    }
}

fn float(op: BinOp, a: f64, b: f64) -> Result<f64> {
    Ok(match op {
        BinOp::Add => a + b,
        BinOp::Sub => a - b,
        BinOp::Mul => a * b,
        BinOp::Div => a / b,
        BinOp::Rem => a % b,
        BinOp::Mod => {
            let r = a % b;
            match r {
                // A zero has the sign of the divisor too.
                0.0 => r.copysign(b),
                _ if (r < 0.0) != (b < 0.0) => r + b,
                _ => r,
            }
        }
        BinOp::Pow => a.powf(b),
        BinOp::Min => Scalar::Float(a).extremum(Scalar::Float(b), false).as_f64(),
        BinOp::Max => Scalar::Float(a).extremum(Scalar::Float(b), true).as_f64(),
        _ => return Err(InterpError::Type(format!("{} of floats", op.name()))),
    })
}

fn integer(op: BinOp, dtype: DType, a: i128, b: i128) -> i128 {
    let width = dtype.bits() as i128;
    let unsigned = |v: i128| v.rem_euclid(1i128 << width);
    let in_range = (0..width).contains(&b);
    match op {
        BinOp::Add => a + b,
        BinOp::Sub => a - b,
        BinOp::Mul => a.wrapping_mul(b),
        BinOp::Div if b == 0 => 0,
        BinOp::Div => a / b,
        BinOp::Rem | BinOp::Mod if b == 0 => 0,
        BinOp::Rem => a % b,
        BinOp::Mod => a - b * floor_div(a, b),
        BinOp::Pow => power(a, b),
        BinOp::Min => a.min(b),
        BinOp::Max => a.max(b),
        BinOp::And => a & b,
        BinOp::Or => a | b,
        BinOp::Xor => a ^ b,
        BinOp::Shl if in_range => a.wrapping_shl(b as u32),
        BinOp::Shr if in_range => unsigned(a) >> b,
        // A count out of range gives 0; comparisons are the caller's.
        BinOp::Shl | BinOp::Shr | BinOp::Eq | BinOp::Ne | BinOp::Lt | BinOp::Le | BinOp::Gt | BinOp::Ge => 0,
    }
}

/// The quotient rounded down; `b` is not 0.
fn floor_div(a: i128, b: i128) -> i128 {
    let q = a / b;
    if a % b != 0 && (a < 0) != (b < 0) { q - 1 } else { q }
}

/// An integer power, wrapping; negative exponents truncate the fraction.
fn power(base: i128, exponent: i128) -> i128 {
    if exponent < 0 {
        return match base {
            1 => 1,
            -1 if exponent % 2 == 0 => 1,
            -1 => -1,
            _ => 0,
        };
    }
    let (mut result, mut square, mut rest) = (1i128, base, exponent);
    while rest > 0 {
        if rest & 1 == 1 {
            result = result.wrapping_mul(square);
        }
        square = square.wrapping_mul(square);
        rest >>= 1;
    }
    result
}

/// `v` converted to a type.
pub(super) fn cast(dtype: DType, v: Scalar) -> Result<Scalar> {
    Ok(match (dtype, v) {
        (DType::Bool, v) => Scalar::Int(v.is_true().into()),
        (d, Scalar::Float(v)) if d.is_float() => Scalar::Float(round_float(d, v)?),
        // A single rounding: i64 to f32 through f64 would round twice.
        (DType::F64, Scalar::Int(v)) => Scalar::Float(v as f64),
        (d, Scalar::Int(v)) if d.is_float() => Scalar::Float(round_float(d, f64::from(v as f32))?),
        (d, Scalar::Int(v)) if d.is_int() => Scalar::Int(wrap(d, v)),
        (d, Scalar::Float(v)) if d.is_int() => {
            let (low, high) = int_range(d);
            // `as` truncates, saturates and turns NaN into 0; the types' ranges are within i128's.
            Scalar::Int((v as i128).clamp(low, high))
        }
        (d, _) => return Err(InterpError::Unsupported(format!("{d} is not interpreted"))),
    })
}
