//! BitCast: the same bits as another element type of the same width.

use crate::elementwise::only;
use crate::{AttrDef, AttrKind, OpDef, OpError, Param, TypeSet};
use planc_ir::TensorType;
use planc_tensor::{Bytes, DType, Tensor};

/// The row of BitCast.
pub const OP: OpDef = OpDef {
    name: "BitCast",
    since: 26,
    types: &[("T1", TypeSet::ALL), ("T2", TypeSet::ALL)],
    inputs: &[Param::req("input", "T1")],
    outputs: &[Param::req("output", "T2")],
    attrs: &[AttrDef::required("to", AttrKind::Int)],
    infer: |cx| {
        let from = cx.tensor(0)?;
        let to = i32::try_from(cx.int("to")).ok().and_then(DType::from_onnx);
        let to = to.ok_or_else(|| OpError::attribute(format!("to is {}, which is no type", cx.int("to"))))?;
        if to == DType::String || to.bits() != from.dtype.bits() {
            return Err(OpError::type_(format!("{} has not the width of {to}", from.dtype)));
        }
        cx.set(0, TensorType { dtype: to, ..from.clone() });
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let x = only(inputs)?;
        Ok(vec![Tensor::from_bytes(cx.output_dtype(0)?, x.shape(), Bytes::new(x.bytes().to_vec()))?])
    }),
    ..OpDef::NEW
};
