//! SequenceEmpty: a sequence without elements.

use crate::sequences::packed;
use crate::{AttrDef, OpDef, OpError, Param, TypeSet};
use planc_ir::{TensorType, Type};
use planc_tensor::DType;

/// The row of SequenceEmpty.
pub const OP: OpDef = OpDef {
    name: "SequenceEmpty",
    since: 11,
    types: &[("S", TypeSet::ALL)],
    outputs: &[Param::req("output", "S")],
    attrs: &[AttrDef::int("dtype", 1)],
    infer: |cx| {
        let code = cx.int("dtype");
        let dtype = i32::try_from(code).ok().and_then(DType::from_onnx);
        let dtype = dtype.ok_or_else(|| OpError::attribute(format!("dtype is {code}")))?;
        cx.set(0, Type::Sequence(Box::new(TensorType::unranked(dtype).into())));
        Ok(())
    },
    eval: Some(|_, _| Ok(packed(vec![]))),
    ..OpDef::NEW
};
