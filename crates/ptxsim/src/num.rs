//! Rounding to the float formats of the instruction set, and to integers.
//!
//! Everything goes through `f64`, in which each step here is exact, so that the one rounding asked for is the only one.

use crate::isa::{Convert, Rounding, Type, ones};
use half::{bf16, f16};

/// A binary format: bits of precision with the leading one, exponent of the smallest normal number, largest number.
struct Format {
    precision: i32,
    min_exponent: i32,
    max: f64,
}

const F16: Format = Format { precision: 11, min_exponent: -14, max: 65504.0 };
const BF16: Format = Format { precision: 8, min_exponent: -126, max: 3.389_531_389_251_535_5e38 };
const TF32: Format = Format { precision: 11, min_exponent: -126, max: 3.401_162_134_214_653e38 };
const F32: Format = Format { precision: 24, min_exponent: -126, max: f32::MAX as f64 };

/// 2 to the power of `n`, which must be the exponent of a normal `f64`.
fn power(n: i32) -> f64 {
    f64::from_bits(((n + 1023) as u64) << 52)
}

/// `x` as a whole number.
pub(crate) fn integral(x: f64, rounding: Rounding) -> f64 {
    match rounding {
        Rounding::Even => x.round_ties_even(),
        Rounding::Zero => x.trunc(),
        Rounding::Down => x.floor(),
        Rounding::Up => x.ceil(),
        Rounding::Away => x.round(),
    }
}

/// `x` rounded to a format; overflow gives infinity or the largest number, as the rounding says.
fn round(x: f64, format: &Format, rounding: Rounding) -> f64 {
    if x == 0.0 || !x.is_finite() {
        return x;
    }
    let exponent = ((x.to_bits() >> 52) & 0x7ff) as i32 - 1023;
    let unit = exponent.max(format.min_exponent) - (format.precision - 1);
    let r = integral(x * power(-unit), rounding) * power(unit);
    if r.abs() <= format.max {
        return r.copysign(x);
    }
    let infinite = match rounding {
        Rounding::Even | Rounding::Away => true,
        Rounding::Zero => false,
        Rounding::Down => x < 0.0,
        Rounding::Up => x > 0.0,
    };
    if infinite { f64::INFINITY.copysign(x) } else { format.max.copysign(x) }
}

/// Bits of the nearest half.
pub(crate) fn f16_bits(x: f64, rounding: Rounding) -> u64 {
    if x.is_nan() { 0x7fff } else { u64::from(f16::from_f64(round(x, &F16, rounding)).to_bits()) }
}

/// Bits of the nearest bfloat16.
pub(crate) fn bf16_bits(x: f64, rounding: Rounding) -> u64 {
    if x.is_nan() { 0x7fff } else { u64::from(bf16::from_f64(round(x, &BF16, rounding)).to_bits()) }
}

/// Bits of the nearest `f32`.
pub(crate) fn f32_bits(x: f64, rounding: Rounding) -> u64 {
    if x.is_nan() {
        0x7fff_ffff
    } else if rounding == Rounding::Even {
        u64::from((x as f32).to_bits())
    } else {
        u64::from((round(x, &F32, rounding) as f32).to_bits())
    }
}

/// Shifting a half into the place of a single leaves an exponent that is 112 too low, for subnormal numbers too.
pub(crate) fn f16_value(bits: u64) -> f64 {
    let magnitude = (bits as u32 & 0x7fff) << 13;
    let special = if bits & 0x7c00 == 0x7c00 { 0x7f80_0000 } else { 0 };
    let scaled = f32::from_bits(magnitude) * f32::from_bits(239 << 23);
    f64::from(f32::from_bits(scaled.to_bits() | special | (bits as u32 & 0x8000) << 16))
}

pub(crate) fn bf16_value(bits: u64) -> f64 {
    f64::from(f32::from_bits((bits as u32) << 16))
}

pub(crate) fn f32_value(bits: u64) -> f32 {
    f32::from_bits(bits as u32)
}

/// Subnormal numbers become zero with the same sign.
pub(crate) fn flush(x: f32) -> f32 {
    if x.is_subnormal() { 0f32.copysign(x) } else { x }
}

/// `.sat` of floats: to [0, 1], NaN to +0.
pub(crate) fn saturate(x: f64) -> f64 {
    if x > 0.0 { x.min(1.0) } else { 0.0 }
}

/// The value of a float operand.
fn float_value(bits: u64, ty: Type) -> f64 {
    match ty {
        Type::F16 => f16_value(bits),
        Type::Bf16 => bf16_value(bits),
        Type::F64 => f64::from_bits(bits),
        _ => f64::from(f32_value(bits)),
    }
}

/// The bits of `x` in a float type.
pub(crate) fn float_bits(x: f64, ty: Type, rounding: Rounding) -> u64 {
    match ty {
        Type::F16 => f16_bits(x, rounding),
        Type::Bf16 => bf16_bits(x, rounding),
        Type::Tf32 if x.is_nan() => 0x7fff_ffff,
        Type::Tf32 => u64::from((round(x, &TF32, rounding) as f32).to_bits()),
        Type::F64 => x.to_bits(),
        _ => f32_bits(x, rounding),
    }
}

/// `bits` of width and signedness of `ty` as a number.
pub(crate) fn int_value(bits: u64, ty: Type) -> i128 {
    let shift = 64 - ty.bits();
    if ty.signed() { i128::from(((bits << shift) as i64) >> shift) } else { i128::from((bits << shift) >> shift) }
}

/// Least and greatest number of an integer type.
fn int_range(ty: Type) -> (i128, i128) {
    let bits = ty.bits();
    if ty.signed() { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) }
}

/// `cvt` of one value. Integers that do not fit wrap, or saturate where the instruction says so or the source is a float.
pub(crate) fn convert(bits: u64, spec: &Convert) -> u64 {
    if !spec.from.float() {
        let v = int_value(bits, spec.from);
        if spec.to.float() {
            let exact = v as f64;
            // Above 53 bits the first rounding would not be the last: jam what is lost into the lowest bit.
            let jammed = if v.unsigned_abs() >> 53 == 0 || spec.to == Type::F64 { exact } else { jam(v) };
            let x = match spec.to {
                Type::F64 => directed(v, spec.rounding),
                _ => jammed,
            };
            return float_bits(if spec.sat { saturate(x) } else { x }, spec.to, spec.rounding);
        }
        let (low, high) = int_range(spec.to);
        let v = if spec.sat { v.clamp(low, high) } else { v };
        return extend(v as u64, spec);
    }
    let mut x = float_value(bits, spec.from);
    if spec.ftz && spec.from == Type::F32 {
        x = f64::from(flush(x as f32));
    }
    if !spec.to.float() {
        let (low, high) = int_range(spec.to);
        if x.is_nan() {
            let nan = if spec.to.bits() < 64 { 0 } else { 1 << 63 };
            return extend(nan, spec);
        }
        // Float casts saturate in Rust; the range of the destination is narrower than that of i128.
        let v = (integral(x, spec.rounding) as i128).clamp(low, high);
        return extend(v as u64, spec);
    }
    if spec.integral {
        x = integral(x, spec.rounding);
    }
    if spec.sat {
        x = saturate(x);
    }
    if spec.relu && x < 0.0 {
        x = 0.0;
    }
    let out = float_bits(x, spec.to, spec.rounding);
    if spec.ftz && spec.to == Type::F32 { u64::from(flush(f32_value(out)).to_bits()) } else { out }
}

/// Sign- or zero-extends an integer result to its register.
fn extend(v: u64, spec: &Convert) -> u64 {
    int_value(v, spec.to) as u64 & ones(spec.width)
}

/// `v` cut to 53 bits with the lowest bit set if anything was lost, which rounds like `v` in every shorter format.
fn jam(v: i128) -> f64 {
    let magnitude = v.unsigned_abs();
    let lost = 128 - 53 - magnitude.leading_zeros();
    let kept = magnitude >> lost | u128::from(magnitude & ((1 << lost) - 1) != 0);
    let x = kept as f64 * power(lost as i32);
    if v < 0 { -x } else { x }
}

/// `v` as `f64` in the given rounding.
fn directed(v: i128, rounding: Rounding) -> f64 {
    let x = v as f64;
    let back = x as i128;
    match rounding {
        Rounding::Down if back > v => x.next_down(),
        Rounding::Up if back < v => x.next_up(),
        Rounding::Zero if back.abs() > v.abs() => f64::from_bits(x.to_bits() - 1),
        _ => x,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_like_the_reference_conversions() {
        let mut state = 1u64;
        for _ in 0..20_000 {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let x = f32::from_bits((state >> 32) as u32);
            if x.is_nan() {
                continue;
            }
            assert_eq!(f16_bits(f64::from(x), Rounding::Even), u64::from(f16::from_f32(x).to_bits()), "{x:e}");
            assert_eq!(bf16_bits(f64::from(x), Rounding::Even), u64::from(bf16::from_f32(x).to_bits()), "{x:e}");
            let half = (state >> 40) as u16;
            let (got, want) = (f16_value(u64::from(half)), f16::from_bits(half).to_f64());
            assert!(got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan()), "{half:x}: {got}");
            assert_eq!(f32_bits(f64::from(x), Rounding::Zero), u64::from(x.to_bits()), "{x:e}");
        }
    }

    #[test]
    fn directed_roundings_overflow_as_they_should() {
        assert_eq!(f16_bits(1e6, Rounding::Zero), 0x7bff);
        assert_eq!(f16_bits(1e6, Rounding::Even), 0x7c00);
        assert_eq!(f16_bits(-1e6, Rounding::Up), 0xfbff);
        assert_eq!(f16_bits(-1e6, Rounding::Down), 0xfc00);
        assert_eq!(f16_bits(1e-9, Rounding::Up), 1);
        assert_eq!(f16_bits(1.0 + 1.0 / 2048.0, Rounding::Even), 0x3c00);
        assert_eq!(f16_bits(1.0 + 1.0 / 2048.0, Rounding::Up), 0x3c01);
    }
}
