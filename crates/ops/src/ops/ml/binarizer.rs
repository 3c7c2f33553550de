//! Binarizer: 1 where an element is above a threshold, else 0.

use crate::floats::{narrow, widen};
use crate::{AttrDef, OpDef, Param, TypeSet, operand};
use planc_tensor::DType;

/// The element types that operators of this domain compute with.
pub const NUMBERS: TypeSet = TypeSet::of(&[DType::F32, DType::F64, DType::I64, DType::I32]);

/// The row of Binarizer.
pub const OP: OpDef = OpDef {
    name: "Binarizer",
    domain: "ai.onnx.ml",
    types: &[("T", NUMBERS)],
    inputs: &[Param::req("X", "T")],
    outputs: &[Param::req("Y", "T")],
    attrs: &[AttrDef::float("threshold", 0.0)],
    infer: crate::elementwise::infer_same,
    eval: Some(|cx, inputs| {
        let x = operand(inputs, 0)?;
        let threshold = f64::from(cx.float("threshold"));
        let y = widen(x)?.into_iter().map(|v| f64::from(u8::from(v > threshold))).collect();
        Ok(vec![narrow(x.dtype(), x.shape(), y)?])
    }),
    ..OpDef::NEW
};
