//! Arithmetic as tables: from the name of an instruction and its type to a function over whole rows.
//!
//! A row function computes all 32 lanes; the executing code keeps those of active lanes. So none of them may panic, whatever
//! an inactive lane holds. Approximate instructions (`.approx`) give the correctly rounded result.

use crate::isa::{Compare, LANES, Rounding, Row, Row1, Row2, Row3, Type, ones};
use crate::num::{bf16_bits, bf16_value, f16_bits, f16_value, f32_value, flush, saturate};

/// Modifiers that change what an arithmetic instruction computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags {
    pub ftz: bool,
    pub sat: bool,
    /// `.NaN` of min and max: a NaN operand gives NaN.
    pub nan: bool,
    /// `.relu` of fma.
    pub relu: bool,
}

macro_rules! row1 {
    (|$a:ident| $e:expr) => {
        (|x: &Row, d: &mut Row| {
            for l in 0..LANES {
                let $a = x[l];
                d[l] = $e;
            }
        }) as Row1
    };
}
macro_rules! row2 {
    (|$a:ident, $b:ident| $e:expr) => {
        (|x: &Row, y: &Row, d: &mut Row| {
            for l in 0..LANES {
                let ($a, $b) = (x[l], y[l]);
                d[l] = $e;
            }
        }) as Row2
    };
}
macro_rules! row3 {
    (|$a:ident, $b:ident, $c:ident| $e:expr) => {
        (|x: &Row, y: &Row, z: &Row, d: &mut Row| {
            for l in 0..LANES {
                let ($a, $b, $c) = (x[l], y[l], z[l]);
                d[l] = $e;
            }
        }) as Row3
    };
}

/// One arm per integer type: the operands get that type, the result is cut to its width.
macro_rules! integer {
    ($ty:expr, $row:ident, |$($a:ident),+| $e:expr) => {
        match ($ty.bits(), $ty.signed()) {
            (16, false) => $row!(|$($a),+| { $(let $a = $a as u16;)+ $e as u16 as u64 }),
            (16, true) => $row!(|$($a),+| { $(let $a = $a as i16;)+ $e as u16 as u64 }),
            (32, false) => $row!(|$($a),+| { $(let $a = $a as u32;)+ $e as u32 as u64 }),
            (32, true) => $row!(|$($a),+| { $(let $a = $a as i32;)+ $e as u32 as u64 }),
            (64, false) => $row!(|$($a),+| { $e }),
            (64, true) => $row!(|$($a),+| { $(let $a = $a as i64;)+ $e as u64 }),
            _ => return None,
        }
    };
}

fn single(x: f32) -> u64 {
    u64::from(x.to_bits())
}

fn clamp01(x: f32) -> f32 {
    saturate(f64::from(x)) as f32
}

/// One arm per combination of flags of a single precision instruction.
macro_rules! f32_row {
    ($flags:expr, $row:ident, |$($a:ident),+| $e:expr) => {
        match ($flags.ftz, $flags.sat) {
            (false, false) => $row!(|$($a),+| { $(let $a = f32_value($a);)+ single($e) }),
            (true, false) => $row!(|$($a),+| { $(let $a = flush(f32_value($a));)+ single(flush($e)) }),
            (false, true) => $row!(|$($a),+| { $(let $a = f32_value($a);)+ single(clamp01($e)) }),
            (true, true) => $row!(|$($a),+| { $(let $a = flush(f32_value($a));)+ single(flush(clamp01($e))) }),
        }
    };
}

macro_rules! f64_row {
    ($row:ident, |$($a:ident),+| $e:expr) => {
        $row!(|$($a),+| { $(let $a = f64::from_bits($a);)+ ($e).to_bits() })
    };
}

/// One arm per half precision type, alone or in pairs; computed in `f64`, rounded once.
macro_rules! half_row {
    ($ty:expr, $row:ident, |$($a:ident),+| $e:expr) => {
        match $ty {
            Type::F16 => $row!(|$($a),+| { $(let $a = f16_value($a);)+ f16_bits($e, Rounding::Even) }),
            Type::Bf16 => $row!(|$($a),+| { $(let $a = bf16_value($a);)+ bf16_bits($e, Rounding::Even) }),
            Type::F16x2 => $row!(|$($a),+| {
                let low = { $(let $a = f16_value($a);)+ f16_bits($e, Rounding::Even) };
                let high = { $(let $a = f16_value($a >> 16);)+ f16_bits($e, Rounding::Even) };
                low | high << 16
            }),
            Type::Bf16x2 => $row!(|$($a),+| {
                let low = { $(let $a = bf16_value($a);)+ bf16_bits($e, Rounding::Even) };
                let high = { $(let $a = bf16_value($a >> 16);)+ bf16_bits($e, Rounding::Even) };
                low | high << 16
            }),
            _ => return None,
        }
    };
}

/// The smaller number; a NaN loses unless `nan`; -0 is smaller than +0.
fn least(a: f64, b: f64, nan: bool) -> f64 {
    if a.is_nan() || b.is_nan() {
        return if nan || (a.is_nan() && b.is_nan()) { f64::NAN } else { a.min(b) };
    }
    if a == b {
        return if a.is_sign_negative() { a } else { b };
    }
    a.min(b)
}

fn most(a: f64, b: f64, nan: bool) -> f64 {
    -least(-a, -b, nan)
}

fn least32(a: f32, b: f32, nan: bool) -> f32 {
    least(f64::from(a), f64::from(b), nan) as f32
}

fn most32(a: f32, b: f32, nan: bool) -> f32 {
    most(f64::from(a), f64::from(b), nan) as f32
}

/// 16 significant bits of sign, or the value cut: what `bfe` gives.
fn extract(a: u64, pos: u64, len: u64, bits: u32, signed: bool) -> u64 {
    let (pos, len) = ((pos & 0xff) as u32, (len & 0xff) as u32);
    let top = (pos + len).wrapping_sub(1).min(bits - 1);
    let sign = signed && len > 0 && a >> top & 1 == 1;
    let field = if pos >= bits { 0 } else { (a >> pos) & ones(len) };
    let kept = if pos >= bits { 0 } else { len.min(bits - pos) };
    (if sign { field | !ones(kept) } else { field }) & ones(bits)
}

/// Instructions of one source.
pub(crate) fn unary(name: &str, ty: Type, flags: Flags) -> Option<Row1> {
    let f32_only = ty == Type::F32;
    Some(match name {
        "not" => match ty.bits() {
            16 => row1!(|a| !a & 0xffff),
            32 => row1!(|a| !a & 0xffff_ffff),
            64 => row1!(|a| !a),
            _ => return None,
        },
        "neg" if ty == Type::F64 => row1!(|a| a ^ 1 << 63),
        "neg" if f32_only => f32_row!(flags, row1, |a| -a),
        "neg" if matches!(ty, Type::F16 | Type::Bf16) => row1!(|a| a ^ 0x8000),
        "neg" if matches!(ty, Type::F16x2 | Type::Bf16x2) => row1!(|a| a ^ 0x8000_8000),
        "neg" if ty.signed() => integer!(ty, row1, |a| a.wrapping_neg()),
        "abs" if ty == Type::F64 => row1!(|a| a & !(1 << 63)),
        "abs" if f32_only => f32_row!(flags, row1, |a| a.abs()),
        "abs" if matches!(ty, Type::F16 | Type::Bf16) => row1!(|a| a & 0x7fff),
        "abs" if matches!(ty, Type::F16x2 | Type::Bf16x2) => row1!(|a| a & 0x7fff_7fff),
        "abs" => match ty {
            Type::S16 => row1!(|a| u64::from((a as i16).wrapping_abs() as u16)),
            Type::S32 => row1!(|a| u64::from((a as i32).wrapping_abs() as u32)),
            Type::S64 => row1!(|a| (a as i64).wrapping_abs() as u64),
            _ => return None,
        },
        "popc" if ty == Type::B32 => row1!(|a| u64::from((a as u32).count_ones())),
        "popc" if ty == Type::B64 => row1!(|a| u64::from(a.count_ones())),
        "clz" if ty == Type::B32 => row1!(|a| u64::from((a as u32).leading_zeros())),
        "clz" if ty == Type::B64 => row1!(|a| u64::from(a.leading_zeros())),
        "brev" if ty == Type::B32 => row1!(|a| u64::from((a as u32).reverse_bits())),
        "brev" if ty == Type::B64 => row1!(|a| a.reverse_bits()),
        "bfind" => match ty {
            Type::U32 => row1!(|a| u64::from(31u32.wrapping_sub((a as u32).leading_zeros()))),
            Type::U64 => row1!(|a| u64::from(63u32.wrapping_sub(a.leading_zeros()))),
            Type::S32 => row1!(|a| {
                let v = a as i32;
                u64::from(31u32.wrapping_sub((if v < 0 { !v } else { v }).leading_zeros()))
            }),
            Type::S64 => row1!(|a| {
                let v = a as i64;
                u64::from(63u32.wrapping_sub((if v < 0 { !v } else { v }).leading_zeros()))
            }),
            _ => return None,
        },
        "rcp" if f32_only => f32_row!(flags, row1, |a| 1.0 / a),
        "rcp" if ty == Type::F64 => f64_row!(row1, |a| 1.0 / a),
        "sqrt" if f32_only => f32_row!(flags, row1, |a| a.sqrt()),
        "sqrt" if ty == Type::F64 => f64_row!(row1, |a| a.sqrt()),
        "rsqrt" if f32_only => f32_row!(flags, row1, |a| (1.0 / f64::from(a).sqrt()) as f32),
        "rsqrt" if ty == Type::F64 => f64_row!(row1, |a| 1.0 / a.sqrt()),
        "ex2" if f32_only => f32_row!(flags, row1, |a| f64::from(a).exp2() as f32),
        "ex2" => half_row!(ty, row1, |a| a.exp2()),
        "lg2" if f32_only => f32_row!(flags, row1, |a| f64::from(a).log2() as f32),
        "sin" if f32_only => f32_row!(flags, row1, |a| f64::from(a).sin() as f32),
        "cos" if f32_only => f32_row!(flags, row1, |a| f64::from(a).cos() as f32),
        "tanh" if f32_only => f32_row!(flags, row1, |a| f64::from(a).tanh() as f32),
        "tanh" => half_row!(ty, row1, |a| a.tanh()),
        _ => return None,
    })
}

/// Instructions of two sources. `mul` is the lower half of an integer product; `mul.hi` and `mul.wide` have their names.
pub(crate) fn binary(name: &str, ty: Type, flags: Flags) -> Option<Row2> {
    if ty == Type::F32 {
        return Some(match name {
            "add" => f32_row!(flags, row2, |a, b| a + b),
            "sub" => f32_row!(flags, row2, |a, b| a - b),
            "mul" => f32_row!(flags, row2, |a, b| a * b),
            "div" => f32_row!(flags, row2, |a, b| a / b),
            "min" if flags.nan => f32_row!(flags, row2, |a, b| least32(a, b, true)),
            "min" => f32_row!(flags, row2, |a, b| least32(a, b, false)),
            "max" if flags.nan => f32_row!(flags, row2, |a, b| most32(a, b, true)),
            "max" => f32_row!(flags, row2, |a, b| most32(a, b, false)),
            "copysign" => row2!(|a, b| b & 0x7fff_ffff | a & 0x8000_0000),
            _ => return None,
        });
    }
    if ty == Type::F64 {
        return Some(match name {
            "add" => f64_row!(row2, |a, b| a + b),
            "sub" => f64_row!(row2, |a, b| a - b),
            "mul" => f64_row!(row2, |a, b| a * b),
            "div" => f64_row!(row2, |a, b| a / b),
            "min" => f64_row!(row2, |a, b| least(a, b, false)),
            "max" => f64_row!(row2, |a, b| most(a, b, false)),
            "copysign" => row2!(|a, b| b & !(1 << 63) | a & 1 << 63),
            _ => return None,
        });
    }
    if matches!(ty, Type::F16 | Type::F16x2 | Type::Bf16 | Type::Bf16x2) {
        return Some(match name {
            "add" if flags.sat => half_row!(ty, row2, |a, b| saturate(a + b)),
            "sub" if flags.sat => half_row!(ty, row2, |a, b| saturate(a - b)),
            "mul" if flags.sat => half_row!(ty, row2, |a, b| saturate(a * b)),
            "add" => half_row!(ty, row2, |a, b| a + b),
            "sub" => half_row!(ty, row2, |a, b| a - b),
            "mul" => half_row!(ty, row2, |a, b| a * b),
            "min" if flags.nan => half_row!(ty, row2, |a, b| least(a, b, true)),
            "min" => half_row!(ty, row2, |a, b| least(a, b, false)),
            "max" if flags.nan => half_row!(ty, row2, |a, b| most(a, b, true)),
            "max" => half_row!(ty, row2, |a, b| most(a, b, false)),
            _ => return None,
        });
    }
    Some(match name {
        "add" if flags.sat => match ty {
            Type::S32 => row2!(|a, b| u64::from((a as i32).saturating_add(b as i32) as u32)),
            _ => return None,
        },
        "sub" if flags.sat => match ty {
            Type::S32 => row2!(|a, b| u64::from((a as i32).saturating_sub(b as i32) as u32)),
            _ => return None,
        },
        "add" => integer!(ty, row2, |a, b| a.wrapping_add(b)),
        "sub" => integer!(ty, row2, |a, b| a.wrapping_sub(b)),
        "mul" => integer!(ty, row2, |a, b| a.wrapping_mul(b)),
        "mul.hi" => match ty {
            Type::U16 => row2!(|a, b| (a * b) >> 16),
            Type::S16 => row2!(|a, b| u64::from(((i32::from(a as i16) * i32::from(b as i16)) >> 16) as u16)),
            Type::U32 => row2!(|a, b| a.wrapping_mul(b) >> 32),
            Type::S32 => row2!(|a, b| u64::from(((i64::from(a as i32) * i64::from(b as i32)) >> 32) as u32)),
            Type::U64 => row2!(|a, b| ((u128::from(a) * u128::from(b)) >> 64) as u64),
            Type::S64 => row2!(|a, b| ((i128::from(a as i64) * i128::from(b as i64)) >> 64) as u64),
            _ => return None,
        },
        "mul.wide" => match ty {
            Type::U16 => row2!(|a, b| u64::from((a as u16 as u32).wrapping_mul(b as u16 as u32))),
            Type::S16 => row2!(|a, b| u64::from((i32::from(a as i16) * i32::from(b as i16)) as u32)),
            Type::U32 => row2!(|a, b| (a as u32 as u64).wrapping_mul(b as u32 as u64)),
            Type::S32 => row2!(|a, b| i64::from(a as i32).wrapping_mul(i64::from(b as i32)) as u64),
            _ => return None,
        },
        "div" => integer!(ty, row2, |a, b| a.checked_div(b).unwrap_or(a)),
        "rem" => integer!(ty, row2, |a, b| a.checked_rem(b).unwrap_or(0)),
        "min" => integer!(ty, row2, |a, b| a.min(b)),
        "max" => integer!(ty, row2, |a, b| a.max(b)),
        "and" => row2!(|a, b| a & b),
        "or" => row2!(|a, b| a | b),
        "xor" => row2!(|a, b| a ^ b),
        "shl" => match ty.bits() {
            16 => row2!(|a, b| if b > 15 { 0 } else { a << b & 0xffff }),
            32 => row2!(|a, b| if b > 31 { 0 } else { a << b & 0xffff_ffff }),
            64 => row2!(|a, b| if b > 63 { 0 } else { a << b }),
            _ => return None,
        },
        "shr" => match (ty.bits(), ty.signed()) {
            (16, true) => row2!(|a, b| u64::from((a as i16 >> b.min(15)) as u16)),
            (32, true) => row2!(|a, b| u64::from((a as i32 >> b.min(31)) as u32)),
            (64, true) => row2!(|a, b| (a as i64 >> b.min(63)) as u64),
            (16 | 32 | 64, false) => row2!(|a, b| if b > 63 { 0 } else { a >> b }),
            _ => return None,
        },
        _ => return None,
    })
}

fn bytes_of(v: u64) -> [u8; 4] {
    (v as u32).to_le_bytes()
}

/// `dp4a`: four products of bytes plus `c`, modulo 2^32.
fn dot4(a: u64, b: u64, c: u64, a_signed: bool, b_signed: bool) -> u64 {
    let value = |v: u8, signed: bool| if signed { i64::from(v as i8) } else { i64::from(v) };
    let sum: i64 = bytes_of(a).into_iter().zip(bytes_of(b)).map(|(x, y)| value(x, a_signed) * value(y, b_signed)).sum();
    u64::from((c as i64).wrapping_add(sum) as u32)
}

/// `dp4a.atype.btype`.
pub(crate) fn dp4a(a: Type, b: Type) -> Option<Row3> {
    Some(match (a, b) {
        (Type::U32, Type::U32) => row3!(|a, b, c| dot4(a, b, c, false, false)),
        (Type::U32, Type::S32) => row3!(|a, b, c| dot4(a, b, c, false, true)),
        (Type::S32, Type::U32) => row3!(|a, b, c| dot4(a, b, c, true, false)),
        (Type::S32, Type::S32) => row3!(|a, b, c| dot4(a, b, c, true, true)),
        _ => return None,
    })
}

/// `prmt` in its default mode: each nibble of `c` picks a byte of `b:a`, its top bit replicates that byte's sign.
fn permute(a: u64, b: u64, c: u64) -> u64 {
    let source = a | b << 32;
    (0..4).fold(0, |out, i| {
        let nibble = c >> (4 * i) & 15;
        let byte = source >> (8 * (nibble & 7)) & 0xff;
        let byte = if nibble & 8 == 0 { byte } else { (byte >> 7) * 0xff };
        out | byte << (8 * i)
    })
}

/// Instructions of three sources.
pub(crate) fn ternary(name: &str, ty: Type, flags: Flags) -> Option<Row3> {
    Some(match name {
        "fma" if ty == Type::F32 => f32_row!(flags, row3, |a, b, c| a.mul_add(b, c)),
        "fma" if ty == Type::F64 => f64_row!(row3, |a, b, c| a.mul_add(b, c)),
        // Products of halves are exact in f64, and the sum has at most one rounding before the last that is 29 bits finer.
        "fma" if flags.relu => half_row!(ty, row3, |a, b, c| (a * b + c).max(0.0)),
        "fma" if flags.sat => half_row!(ty, row3, |a, b, c| saturate(a * b + c)),
        "fma" => half_row!(ty, row3, |a, b, c| a * b + c),
        "mad" => integer!(ty, row3, |a, b, c| a.wrapping_mul(b).wrapping_add(c)),
        "mad.hi" => match ty {
            Type::U32 => row3!(|a, b, c| (a.wrapping_mul(b) >> 32).wrapping_add(c) & 0xffff_ffff),
            Type::S32 => row3!(|a, b, c| {
                let high = ((i64::from(a as i32) * i64::from(b as i32)) >> 32) as u32;
                u64::from(high.wrapping_add(c as u32))
            }),
            Type::U64 => row3!(|a, b, c| (((u128::from(a) * u128::from(b)) >> 64) as u64).wrapping_add(c)),
            _ => return None,
        },
        "mad.wide" => match ty {
            Type::U16 => {
                row3!(|a, b, c| u64::from((a as u16 as u32).wrapping_mul(b as u16 as u32).wrapping_add(c as u32)))
            }
            Type::S16 => row3!(|a, b, c| {
                u64::from(((i32::from(a as i16) * i32::from(b as i16)) as u32).wrapping_add(c as u32))
            }),
            Type::U32 => row3!(|a, b, c| (a as u32 as u64).wrapping_mul(b as u32 as u64).wrapping_add(c)),
            Type::S32 => {
                row3!(|a, b, c| (i64::from(a as i32).wrapping_mul(i64::from(b as i32)) as u64).wrapping_add(c))
            }
            _ => return None,
        },
        "sad" => match ty {
            Type::U32 => row3!(|a, b, c| u64::from((a as u32).abs_diff(b as u32).wrapping_add(c as u32))),
            Type::S32 => row3!(|a, b, c| u64::from((a as i32).abs_diff(b as i32).wrapping_add(c as u32))),
            _ => return None,
        },
        "bfe" => match ty {
            Type::U32 => row3!(|a, b, c| extract(a, b, c, 32, false)),
            Type::S32 => row3!(|a, b, c| extract(a, b, c, 32, true)),
            Type::U64 => row3!(|a, b, c| extract(a, b, c, 64, false)),
            Type::S64 => row3!(|a, b, c| extract(a, b, c, 64, true)),
            _ => return None,
        },
        "prmt" => row3!(|a, b, c| permute(a, b, c)),
        "shf.l.wrap" => row3!(|a, b, c| (b << 32 | a) << (c & 31) >> 32 & 0xffff_ffff),
        "shf.r.wrap" => row3!(|a, b, c| (b << 32 | a) >> (c & 31) & 0xffff_ffff),
        "shf.l.clamp" => row3!(|a, b, c| (b << 32 | a) << c.min(32) >> 32 & 0xffff_ffff),
        "shf.r.clamp" => row3!(|a, b, c| (b << 32 | a) >> c.min(32) & 0xffff_ffff),
        // `slct`: `a` where `c` is not negative.
        "slct.s32" => row3!(|a, b, c| if c as i32 >= 0 { a } else { b }),
        "slct.f32" => row3!(|a, b, c| if f32_value(c) >= 0.0 { a } else { b }),
        _ => return None,
    })
}

/// Whether both are numbers, and not the same.
fn differ<T: PartialOrd>(a: T, b: T) -> bool {
    a.partial_cmp(&b).is_some_and(std::cmp::Ordering::is_ne)
}

macro_rules! compare {
    ($ty:expr, |$a:ident, $b:ident| $e:expr) => {{
        macro_rules! rows {
            ($cast:expr) => {
                (|x: &Row, y: &Row| {
                    let cast = $cast;
                    (0..LANES).fold(0u32, |mask, l| {
                        let ($a, $b) = (cast(x[l]), cast(y[l]));
                        mask | u32::from($e) << l
                    })
                }) as Compare
            };
        }
        match $ty {
            Type::U16 | Type::B16 => rows!(|v: u64| v as u16),
            Type::S16 => rows!(|v: u64| v as i16),
            Type::U32 | Type::B32 => rows!(|v: u64| v as u32),
            Type::S32 => rows!(|v: u64| v as i32),
            Type::U64 | Type::B64 => rows!(|v: u64| v),
            Type::S64 => rows!(|v: u64| v as i64),
            Type::F32 => rows!(|v: u64| f32_value(v)),
            Type::F64 => rows!(|v: u64| f64::from_bits(v)),
            Type::F16 => rows!(|v: u64| f16_value(v)),
            Type::Bf16 => rows!(|v: u64| bf16_value(v)),
            _ => return None,
        }
    }};
}

/// Comparisons that flush subnormal `f32` operands.
macro_rules! compare_flushed {
    (|$a:ident, $b:ident| $e:expr) => {
        (|x: &Row, y: &Row| {
            (0..LANES).fold(0u32, |mask, l| {
                let ($a, $b) = (flush(f32_value(x[l])), flush(f32_value(y[l])));
                mask | u32::from($e) << l
            })
        }) as Compare
    };
}

/// The comparisons of `setp` and `set`.
pub(crate) fn comparison(name: &str, ty: Type, ftz: bool) -> Option<Compare> {
    let float = ty.float();
    if float && ftz && ty == Type::F32 {
        return Some(match name {
            "eq" => compare_flushed!(|a, b| a == b),
            "ne" => compare_flushed!(|a, b| differ(a, b)),
            "lt" => compare_flushed!(|a, b| a < b),
            "le" => compare_flushed!(|a, b| a <= b),
            "gt" => compare_flushed!(|a, b| a > b),
            "ge" => compare_flushed!(|a, b| a >= b),
            "equ" => compare_flushed!(|a, b| !differ(a, b)),
            "neu" => compare_flushed!(|a, b| a != b),
            "ltu" => compare_flushed!(|a, b| a.partial_cmp(&b).is_none_or(std::cmp::Ordering::is_lt)),
            "leu" => compare_flushed!(|a, b| a.partial_cmp(&b).is_none_or(std::cmp::Ordering::is_le)),
            "gtu" => compare_flushed!(|a, b| a.partial_cmp(&b).is_none_or(std::cmp::Ordering::is_gt)),
            "geu" => compare_flushed!(|a, b| a.partial_cmp(&b).is_none_or(std::cmp::Ordering::is_ge)),
            "num" => compare_flushed!(|a, b| !a.is_nan() && !b.is_nan()),
            "nan" => compare_flushed!(|a, b| a.is_nan() || b.is_nan()),
            _ => return None,
        });
    }
    let bits_only = matches!(ty, Type::B16 | Type::B32 | Type::B64);
    Some(match name {
        "eq" => compare!(ty, |a, b| a == b),
        "ne" => compare!(ty, |a, b| differ(a, b)),
        _ if bits_only => return None,
        "lt" => compare!(ty, |a, b| a < b),
        "le" => compare!(ty, |a, b| a <= b),
        "gt" => compare!(ty, |a, b| a > b),
        "ge" => compare!(ty, |a, b| a >= b),
        "lo" if !float && !ty.signed() => compare!(ty, |a, b| a < b),
        "ls" if !float && !ty.signed() => compare!(ty, |a, b| a <= b),
        "hi" if !float && !ty.signed() => compare!(ty, |a, b| a > b),
        "hs" if !float && !ty.signed() => compare!(ty, |a, b| a >= b),
        "equ" if float => compare!(ty, |a, b| !differ(a, b)),
        "neu" if float => compare!(ty, |a, b| a != b),
        "ltu" if float => compare!(ty, |a, b| a.partial_cmp(&b).is_none_or(std::cmp::Ordering::is_lt)),
        "leu" if float => compare!(ty, |a, b| a.partial_cmp(&b).is_none_or(std::cmp::Ordering::is_le)),
        "gtu" if float => compare!(ty, |a, b| a.partial_cmp(&b).is_none_or(std::cmp::Ordering::is_gt)),
        "geu" if float => compare!(ty, |a, b| a.partial_cmp(&b).is_none_or(std::cmp::Ordering::is_ge)),
        "num" if float => compare!(ty, |a, b| a.partial_cmp(&b).is_some()),
        "nan" if float => compare!(ty, |a, b| a.partial_cmp(&b).is_none()),
        _ => return None,
    })
}
