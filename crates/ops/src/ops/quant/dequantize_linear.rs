//! DequantizeLinear: (x - zero point) scale; scales per tensor, per axis or per block.

use crate::elementwise::lower_map_optional;
use crate::quantise::{Granularity, QUANTISED, SCALED, broadcasts, check, type_attribute};
use crate::scalar::{Wide, floats, from_numbers};
use crate::{AttrDef, OpDef, OpError, Param, TypeSet, operand};
use planc_kir::BinOp;
use planc_tensor::DType;

/// The row of DequantizeLinear.
pub const OP: OpDef = OpDef {
    name: "DequantizeLinear",
    since: 10,
    types: &[
        ("T1", QUANTISED.or(TypeSet::of(&[DType::I32]))),
        ("T2", SCALED.or(TypeSet::of(&[DType::F8E8M0]))),
        ("T3", SCALED),
    ],
    inputs: &[Param::req("x", "T1"), Param::req("x_scale", "T2"), Param::opt("x_zero_point", "T1")],
    outputs: &[Param::req("y", "T3")],
    attrs: &[
        AttrDef::int("axis", 1).since(13),
        AttrDef::int("block_size", 0).since(21),
        AttrDef::int("output_dtype", 0).since(23),
    ],
    infer: |cx| {
        check(cx)?;
        let to = result_type(cx.int("output_dtype"), cx.dtype(1)?)?;
        let shape = cx.shape(0)?.map(<[_]>::to_vec);
        cx.set_shape(0, to, shape);
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let (x, scale, zero) = (operand(inputs, 0)?, operand(inputs, 1)?, inputs.get(2).copied().flatten());
        let to = result_type(cx.int("output_dtype"), scale.dtype())?;
        let granularity = Granularity::of(x.shape(), scale.shape(), cx.int("axis"), cx.int("block_size"))?;
        let scales = floats(scale)?;
        let zeros = match zero {
            Some(z) if z.len() == scales.len() => floats(z)?,
            Some(_) => return Err(OpError::shape("there are not as many zero points as scales")),
            None => vec![0.0; scales.len()],
        };
        let numbers = floats(x)?;
        let mut out = Vec::with_capacity(numbers.len());
        granularity.for_each(x.shape(), |at| {
            let difference = (numbers[out.len()] - zeros[at]) as f32;
            out.push(f64::from(difference) * scales[at]);
        });
        Ok(vec![from_numbers(to, x.shape(), out.into_iter().map(Wide::Float), Default::default())?])
    }),
    lower: |cx| {
        let (true, Ok(to)) = (broadcasts(cx), cx.output(0).map(|t| t.dtype)) else { return crate::Lowered::Reference };
        lower_map_optional(cx, |b, regs| {
            let (x, scale) = (regs.first().copied()??, regs.get(1).copied()??);
            // Quantised integers have 32 bits at most; their differences are exact.
            let mut y = b.cast(DType::I32, x);
            if let Some(zero) = regs.get(2).copied().flatten() {
                let zero = b.cast(DType::I32, zero);
                y = b.binary(BinOp::Sub, y, zero);
            }
            let (y, scale) = (b.cast(DType::F32, y), b.cast(DType::F32, scale));
            let y = b.binary(BinOp::Mul, y, scale);
            Some(b.cast(to, y))
        })
    },
    ..OpDef::NEW
};

/// The row of com.microsoft's DequantizeLinear, which took types that came to ONNX later.
pub const MICROSOFT: OpDef = OpDef {
    domain: "com.microsoft",
    since: 1,
    attrs: &[AttrDef::int("axis", 1)],
    decompose: Some(|graph, id| crate::rebuild::Rebuild::new(graph, id).renamed()),
    ..OP
};

/// The result's type: as asked for, else the scale's.
fn result_type(attribute: i64, scale: DType) -> Result<DType, OpError> {
    match type_attribute("output_dtype", attribute, SCALED)? {
        Some(t) => Ok(t),
        None if SCALED.has(scale) => Ok(scale),
        None => Err(OpError::attribute(format!("output_dtype is missing beside scales of {scale}"))),
    }
}
