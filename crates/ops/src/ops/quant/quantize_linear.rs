//! QuantizeLinear: round(x / scale) + zero point, saturated; scales per tensor, per axis or per block.

use crate::elementwise::{lower_map_optional, scalar_of};
use crate::quantise::{Granularity, QUANTISED, SCALED, broadcasts, check, type_attribute};
use crate::scalar::{Rounding, Scalar, Wide, floats, from_numbers, int_range};
use crate::{AttrDef, LowerCx, Lowered, OpDef, OpError, Param, TypeSet, operand};
use planc_kir::{BinOp, UnOp};
use planc_tensor::{DType, bf16, f16};

/// The types of what is quantised.
const X: TypeSet = SCALED.or(TypeSet::of(&[DType::I32]));

/// The row of QuantizeLinear.
pub const OP: OpDef = OpDef {
    name: "QuantizeLinear",
    since: 10,
    types: &[("T1", X), ("T2", X.or(TypeSet::of(&[DType::F8E8M0]))), ("T3", QUANTISED)],
    inputs: &[Param::req("x", "T1"), Param::req("y_scale", "T2"), Param::opt("y_zero_point", "T3")],
    outputs: &[Param::req("y", "T3")],
    attrs: &[
        AttrDef::int("axis", 1).since(13),
        AttrDef::int("saturate", 1).since(19),
        AttrDef::int("output_dtype", 0).since(21),
        AttrDef::int("block_size", 0).since(21),
        AttrDef::int("precision", 0).since(23),
    ],
    infer: |cx| {
        check(cx)?;
        type_attribute("precision", cx.int("precision"), SCALED)?;
        let wanted = type_attribute("output_dtype", cx.int("output_dtype"), QUANTISED)?;
        let zero = if cx.has(2) { Some(cx.dtype(2)?) } else { None };
        if let (Some(w), Some(z)) = (wanted, zero)
            && w != z
        {
            return Err(OpError::type_(format!("output_dtype is {w}, the zero point is {z}")));
        }
        let shape = cx.shape(0)?.map(<[_]>::to_vec);
        cx.set_shape(0, wanted.or(zero).unwrap_or(DType::U8), shape);
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let (x, scale, zero) = (operand(inputs, 0)?, operand(inputs, 1)?, inputs.get(2).copied().flatten());
        let wanted = type_attribute("output_dtype", cx.int("output_dtype"), QUANTISED)?;
        let to = zero.map(|z| z.dtype()).or(wanted).unwrap_or(DType::U8);
        let granularity = Granularity::of(x.shape(), scale.shape(), cx.int("axis"), cx.int("block_size"))?;
        let precision = precision(cx.int("precision"), x.dtype(), scale.dtype())?;
        let scales = floats(scale)?;
        let zeros = match zero {
            Some(z) if z.len() == scales.len() => floats(z)?,
            Some(_) => return Err(OpError::shape("there are not as many zero points as scales")),
            None => vec![0.0; scales.len()],
        };
        let (numbers, range) = (floats(x)?, int_range(to));
        let mut out = Vec::with_capacity(numbers.len());
        granularity.for_each(x.shape(), |at| {
            let ratio = round_to(precision, numbers[out.len()]) / round_to(precision, scales[at]);
            let ratio = round_to(precision, ratio);
            out.push(match range {
                Some((low, high)) => (ratio.round_ties_even() + zeros[at]).clamp(low as f64, high as f64),
                None => ratio + zeros[at],
            });
        });
        let rounding = Rounding { saturate: cx.flag("saturate"), ..Rounding::default() };
        Ok(vec![from_numbers(to, x.shape(), out.into_iter().map(Wide::Float), rounding)?])
    }),
    lower,
    ..OpDef::NEW
};

/// The row of com.microsoft's QuantizeLinear, which took types that came to ONNX later.
pub const MICROSOFT: OpDef = OpDef {
    domain: "com.microsoft",
    since: 1,
    attrs: &[AttrDef::int("axis", 1)],
    decompose: Some(|graph, id| crate::rebuild::Rebuild::new(graph, id).renamed()),
    ..OP
};

/// The type in which x is divided by the scale: as asked for, a 16-bit float where both are of that type, else f32.
fn precision(attribute: i64, x: DType, scale: DType) -> Result<DType, OpError> {
    let asked = type_attribute("precision", attribute, SCALED)?;
    Ok(asked.unwrap_or(if x == scale && SCALED.has(x) { x } else { DType::F32 }))
}

/// `v` rounded to a float type.
fn round_to(dtype: DType, v: f64) -> f64 {
    match dtype {
        DType::F16 => f16::narrow(Wide::Float(v)).into(),
        DType::BF16 => bf16::narrow(Wide::Float(v)).into(),
        _ => (v as f32).into(),
    }
}

fn lower(cx: &LowerCx<'_>) -> Lowered {
    let (Ok(out), Ok(x), Ok(scale)) = (cx.output(0), cx.dtype(0), cx.dtype(1)) else { return Lowered::Reference };
    let to = out.dtype;
    let (Some((low, high)), Some(_), Ok(precision)) =
        (int_range(to), to.size(), precision(cx.int("precision"), x, scale))
    else {
        return Lowered::Reference;
    };
    if !broadcasts(cx) {
        return Lowered::Reference;
    }
    let is_one = cx.constant(1).and_then(scalar_of).is_some_and(|n| n.as_f64() == 1.0);
    lower_map_optional(cx, |b, regs| {
        let (x, scale) = (regs.first().copied()??, regs.get(1).copied()??);
        let mut y = b.cast(precision, x);
        // Operators that requantise divide before, together with other factors.
        if !is_one {
            let scale = b.cast(precision, scale);
            y = b.binary(BinOp::Div, y, scale);
        }
        let y = b.cast(DType::F32, y);
        let mut y = b.unary(UnOp::Round, y);
        if let Some(zero) = regs.get(2).copied().flatten() {
            let zero = b.cast(DType::F32, zero);
            y = b.binary(BinOp::Add, y, zero);
        }
        let y = b.binary_const(BinOp::Max, y, low as f64);
        let y = b.binary_const(BinOp::Min, y, high as f64);
        Some(b.cast(to, y))
    })
}
