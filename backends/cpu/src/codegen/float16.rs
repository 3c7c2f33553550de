//! 16-bit floats in f32 registers: conversion in software, to nearest with ties to even.
//!
//! A register of type f16 or bf16 holds an f32 that the type represents exactly. f16: 5 exponent bits, 10 mantissa bits;
//! bf16: the upper half of an f32.

use super::wide::{Wide, same_bits};
use cranelift_codegen::ir::condcodes::FloatCC::{GreaterThanOrEqual, LessThan, Unordered};
use cranelift_codegen::ir::condcodes::IntCC::{UnsignedGreaterThan, UnsignedGreaterThanOrEqual, UnsignedLessThan};
use cranelift_codegen::ir::types::{F32, F64, I64};
use cranelift_codegen::ir::{InstBuilder, Value};
use planc_tensor::DType;

/// Bits of f32 infinity.
const INFINITY: i64 = 0x7f80_0000;
/// 2^-14, the smallest normal f16, as f32 bits.
const F16_NORMAL: i64 = 0x3880_0000;
/// 2^16, the first power of two beyond f16, as f32 bits.
const F16_BEYOND: i64 = 0x4780_0000;

/// The f32 of an element's bits, which are in the lower half of an i32.
pub(super) fn decode(w: &mut Wide<'_, '_>, dtype: DType, bits: Value) -> Value {
    if dtype == DType::BF16 {
        let bits = w.shl(bits, 16);
        return w.of_bits(bits);
    }
    // The exponent is too small by the difference of the biases; the product puts it right, for subnormals too.
    let magnitude = w.and(bits, 0x7fff);
    let float = w.ty(DType::F32);
    let shifted = w.shl(magnitude, 13);
    let small = w.of_bits(shifted);
    let factor = w.float(float, 2f64.powi(112));
    let scaled = w.b.ins().fmul(small, factor);
    let finite = w.bits(scaled);
    let special = {
        let ones = w.int_like(finite, INFINITY);
        w.b.ins().bor(finite, ones)
    };
    let is_special = w.compare(UnsignedGreaterThanOrEqual, magnitude, 0x7c00);
    let magnitude = w.pick(is_special, special, finite);
    let sign = w.and(bits, 0x8000);
    let sign = w.shl(sign, 16);
    let all = w.b.ins().bor(magnitude, sign);
    w.of_bits(all)
}

/// The bits, in the lower half of an i32, of an f32 that the type represents.
pub(super) fn encode(w: &mut Wide<'_, '_>, dtype: DType, v: Value) -> Value {
    let bits = w.bits(v);
    if dtype == DType::BF16 {
        return w.shr(bits, 16);
    }
    let magnitude = w.and(bits, 0x7fff_ffff);
    let small = w.of_bits(magnitude);
    let float = w.ty(DType::F32);
    let factor = w.float(float, 2f64.powi(-112));
    let scaled = w.b.ins().fmul(small, factor);
    let scaled = w.bits(scaled);
    let finite = w.shr(scaled, 13);
    let is_nan = w.compare(UnsignedGreaterThan, magnitude, INFINITY);
    let (nan, infinity) = (w.int_like(magnitude, 0x7e00), w.int_like(magnitude, 0x7c00));
    let special = w.pick(is_nan, nan, infinity);
    let is_special = w.compare(UnsignedGreaterThanOrEqual, magnitude, INFINITY);
    let magnitude = w.pick(is_special, special, finite);
    let sign = w.shr(bits, 16);
    let sign = w.and(sign, 0x8000);
    w.b.ins().bor(magnitude, sign)
}

/// The nearest value of the type to an f32.
pub(super) fn round(w: &mut Wide<'_, '_>, dtype: DType, v: Value) -> Value {
    let bits = w.bits(v);
    let magnitude = w.and(bits, 0x7fff_ffff);
    let sign = w.and(bits, 0x8000_0000);
    let is_nan = w.compare(UnsignedGreaterThan, magnitude, INFINITY);
    let dropped = if dtype == DType::BF16 { 16 } else { 13 };
    // Adding just under half, and one more where the last kept bit is odd, carries exactly where it rounds up.
    let odd = w.shr(magnitude, dropped);
    let odd = w.and(odd, 1);
    let sum = {
        let half = w.int_like(magnitude, (1 << (dropped - 1)) - 1);
        w.b.ins().iadd(magnitude, half)
    };
    let sum = w.b.ins().iadd(sum, odd);
    let rounded = w.and(sum, 0xffff_ffff << dropped & 0xffff_ffff);
    let rounded = if dtype == DType::BF16 {
        rounded
    } else {
        let beyond = w.compare(UnsignedGreaterThanOrEqual, rounded, F16_BEYOND);
        let infinity = w.int_like(magnitude, INFINITY);
        let normal = w.pick(beyond, infinity, rounded);
        // The unit of f32 in [0.5, 1) is that of subnormal f16: the sum rounds where f16 does.
        let small = w.of_bits(magnitude);
        let float = w.ty(DType::F32);
        let half = w.float(float, 0.5);
        let sum = w.b.ins().fadd(small, half);
        let subnormal = w.b.ins().fsub(sum, half);
        let subnormal = w.bits(subnormal);
        let is_small = w.compare(UnsignedLessThan, magnitude, F16_NORMAL);
        w.pick(is_small, subnormal, normal)
    };
    // A quiet NaN whose payload survives the narrowing.
    let nan = w.int_like(magnitude, 0x7fc0_0000);
    let magnitude = w.pick(is_nan, nan, rounded);
    let all = w.b.ins().bor(magnitude, sign);
    w.of_bits(all)
}

/// The nearest value of the type to an f64, rounded once, as f32.
pub(super) fn round_f64(w: &mut Wide<'_, '_>, dtype: DType, v: Value) -> Value {
    // Kept mantissa bits and exponent of the smallest normal.
    let (kept, smallest) = if dtype == DType::BF16 { (7, -126) } else { (10, -14) };
    let dropped = 52 - kept;
    let bits = w.b.ins().bitcast(I64, same_bits(), v);
    let odd = w.b.ins().ushr_imm_u(bits, dropped);
    let odd = w.b.ins().band_imm_u(odd, 1);
    let sum = w.b.ins().iadd_imm_u(bits, (1 << (dropped - 1)) - 1);
    let sum = w.b.ins().iadd(sum, odd);
    let normal = w.b.ins().band_imm_s(sum, -1 << dropped);
    let normal = w.b.ins().bitcast(F64, same_bits(), normal);
    // The unit of f64 at this constant is that of the type's subnormals.
    let magic = w.b.ins().f64const(2f64.powi(smallest - kept as i32 + 52));
    let magnitude = w.b.ins().fabs(v);
    let sum = w.b.ins().fadd(magnitude, magic);
    let subnormal = w.b.ins().fsub(sum, magic);
    let subnormal = w.b.ins().fcopysign(subnormal, v);
    let limit = w.b.ins().f64const(2f64.powi(smallest));
    let is_small = w.b.ins().fcmp(LessThan, magnitude, limit);
    let rounded = w.b.ins().select(is_small, subnormal, normal);
    let is_nan = w.b.ins().fcmp(Unordered, v, v);
    let rounded = w.b.ins().select(is_nan, v, rounded);
    let narrow = w.b.ins().fdemote(F32, rounded);
    if dtype == DType::BF16 {
        // What is beyond bf16 is beyond f32; a NaN keeps nothing that bf16 lacks.
        return round(w, dtype, narrow);
    }
    let magnitude = w.b.ins().fabs(narrow);
    let beyond = w.b.ins().f32const(65536.0f32);
    let is_beyond = w.b.ins().fcmp(GreaterThanOrEqual, magnitude, beyond);
    let infinity = w.b.ins().f32const(f32::INFINITY);
    let infinity = w.b.ins().fcopysign(infinity, narrow);
    w.b.ins().select(is_beyond, infinity, narrow)
}
