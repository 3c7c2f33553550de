//! SequenceLength: the number of elements.

use crate::sequences::{element_type, tensors};
use crate::{OpDef, Param, TypeSet};
use planc_tensor::{DType, Tensor};

/// The row of SequenceLength.
pub const OP: OpDef = OpDef {
    name: "SequenceLength",
    since: 11,
    types: &[("S", TypeSet::ALL), ("I", TypeSet::I64)],
    inputs: &[Param::req("input_sequence", "S")],
    outputs: &[Param::req("length", "I")],
    infer: |cx| {
        element_type(cx, 0)?;
        cx.set_tensor(0, DType::I64, vec![]);
        Ok(())
    },
    eval: Some(|_, inputs| Ok(vec![Tensor::scalar(tensors(inputs, 0)?.len() as i64)])),
    ..OpDef::NEW
};
