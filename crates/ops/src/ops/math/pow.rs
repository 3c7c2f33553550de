//! Pow: x to the power y, broadcast; the types may differ, the result has that of x.
//!
//! Integers to integer powers wrap; to negative powers the exact result is truncated (0 to a negative power gives 0).

use crate::elementwise::{lower_map, map2};
use crate::scalar::{Scalar, Wide, from_numbers, numbers};
use crate::{OpDef, OpError, Param, TypeSet, operand, schema};
use planc_kir::{BinOp, Num};
use planc_tensor::{DType, bf16, f16};

/// The row of Pow.
pub const OP: OpDef = OpDef {
    name: "Pow",
    types: &[("T", TypeSet::FLOAT.or(TypeSet::INDEX)), ("T1", TypeSet::NUMERIC)],
    inputs: &[Param::req("X", "T"), Param::req("Y", "T1")],
    outputs: &[Param::req("Z", "T")],
    eval: Some(|cx, inputs| {
        let (x, y) = (operand(inputs, 0)?, operand(inputs, 1)?);
        // Every exponent as f64, or as i64 where both are integers.
        let exact = x.dtype().is_int() && y.dtype().is_int();
        let carrier = if exact { DType::I64 } else { DType::F64 };
        let y = from_numbers(carrier, y.shape(), numbers(y, |v| v)?.into_iter(), Default::default())?;
        let y = y.view();
        let power = |x: f64, y: f64| Wide::Float(libm::pow(x, y));
        let z = match (x.dtype(), exact) {
            (DType::I32, true) => map2(cx, x, y, |x: i32, y: i64| int_power(x.into(), y) as i32),
            (DType::I64, true) => map2(cx, x, y, int_power),
            (DType::I32, false) => map2(cx, x, y, |x: i32, y: f64| i32::narrow(power(x.into(), y))),
            (DType::I64, false) => map2(cx, x, y, |x: i64, y: f64| i64::narrow(power(x as f64, y))),
            (DType::F32, _) => map2(cx, x, y, |x: f32, y: f64| f32::narrow(power(x.into(), y))),
            (DType::F64, _) => map2(cx, x, y, |x: f64, y: f64| f64::narrow(power(x, y))),
            (DType::F16, _) => map2(cx, x, y, |x: f16, y: f64| f16::narrow(power(x.into(), y))),
            (DType::BF16, _) => map2(cx, x, y, |x: bf16, y: f64| bf16::narrow(power(x.into(), y))),
            (t, _) => Err(OpError::type_(format!("does not take {t}"))),
        };
        Ok(vec![z?])
    }),
    lower: |cx| {
        // Small constant powers are products.
        let exponent = cx.constant(1).and_then(crate::elementwise::scalar_of).map(Num::as_f64);
        lower_map(cx, |b, x| {
            let [x, y] = *x else { return None };
            let dtype = b.type_of(x);
            match exponent {
                Some(2.0) => Some(b.binary(BinOp::Mul, x, x)),
                Some(3.0) => {
                    let square = b.binary(BinOp::Mul, x, x);
                    Some(b.binary(BinOp::Mul, square, x))
                }
                _ if !dtype.is_float() => None,
                // An f32 holds neither every integer of 32 bits nor every f64.
                _ if dtype != b.type_of(y) && b.type_of(y).bits() >= 32 => {
                    let (x, y) = (b.cast(DType::F64, x), b.cast(DType::F64, y));
                    let z = b.binary(BinOp::Pow, x, y);
                    Some(b.cast(dtype, z))
                }
                _ => {
                    let wide = crate::elementwise::compute_type(dtype);
                    let (x, y) = (b.cast(wide, x), b.cast(wide, y));
                    let z = b.binary(BinOp::Pow, x, y);
                    Some(b.cast(dtype, z))
                }
            }
        })
    },
    ..schema::BINARY
};

/// x to the power y, wrapping; fractions are truncated.
fn int_power(x: i64, y: i64) -> i64 {
    match (x, y) {
        (1, _) => 1,
        (-1, _) => {
            if y % 2 == 0 {
                1
            } else {
                -1
            }
        }
        (_, ..0) => 0,
        _ => {
            let (mut z, mut square, mut left) = (1i64, x, y);
            while left > 0 {
                if left % 2 == 1 {
                    z = z.wrapping_mul(square);
                }
                square = square.wrapping_mul(square);
                left /= 2;
            }
            z
        }
    }
}
