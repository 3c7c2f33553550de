//! Normalizer: each row divided by its largest element, by the sum of its magnitudes, or by its length.

use super::binarizer::NUMBERS;
use crate::floats::{narrow, widen};
use crate::{AttrDef, OpDef, OpError, Param, TypeSet, operand};
use planc_tensor::DType;

/// The row of Normalizer.
pub const OP: OpDef = OpDef {
    name: "Normalizer",
    domain: "ai.onnx.ml",
    types: &[("T", NUMBERS), ("F", TypeSet::F32)],
    inputs: &[Param::req("X", "T")],
    outputs: &[Param::req("Y", "F")],
    attrs: &[AttrDef::str("norm", "MAX")],
    infer: |cx| {
        norm(cx.str("norm"))?;
        let shape = cx.shape(0)?.map(<[_]>::to_vec);
        cx.set_shape(0, DType::F32, shape);
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let (x, norm) = (operand(inputs, 0)?, norm(cx.str("norm"))?);
        let columns = x.shape().last().copied().unwrap_or(1).max(1);
        let mut v = widen(x)?;
        for row in v.chunks_mut(columns) {
            let by = norm(row);
            // Rows of zeros stay.
            if by != 0.0 {
                row.iter_mut().for_each(|v| *v /= by);
            }
        }
        Ok(vec![narrow(DType::F32, x.shape(), v)?])
    }),
    ..OpDef::NEW
};

fn norm(name: &str) -> Result<fn(&[f64]) -> f64, OpError> {
    Ok(match name {
        // The sign counts: what is largest may be negative.
        "MAX" => |row| row.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        "L1" => |row| row.iter().map(|v| v.abs()).sum(),
        "L2" => |row| row.iter().map(|v| v * v).sum::<f64>().sqrt(),
        other => return Err(OpError::attribute(format!("norm is {other:?}, not MAX, L1 or L2"))),
    })
}
