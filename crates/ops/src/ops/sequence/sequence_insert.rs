//! SequenceInsert: a sequence with one more element, before a position or at the end.

use crate::sequences::{element_type, join, packed, position, tensors};
use crate::{OpDef, OpError, Param, TypeSet, operand};
use planc_ir::Type;

/// The row of SequenceInsert.
pub const OP: OpDef = OpDef {
    name: "SequenceInsert",
    since: 11,
    types: &[("S", TypeSet::ALL), ("T", TypeSet::ALL), ("I", TypeSet::INDEX)],
    inputs: &[Param::req("input_sequence", "S"), Param::req("tensor", "T"), Param::opt("position", "I")],
    outputs: &[Param::req("output_sequence", "S")],
    infer: |cx| {
        let given: Type = cx.tensor(1)?.clone().into();
        let ty = join(cx, element_type(cx, 0)?, &given)
            .map_err(|e| OpError::type_(format!("the element does not fit the sequence: {e}")))?;
        cx.set(0, Type::Sequence(Box::new(ty)));
        Ok(())
    },
    eval: Some(|_, inputs| {
        let mut list = tensors(inputs, 0)?;
        let n = list.len();
        list.insert(position(inputs, 2, (n, n), n)?, operand(inputs, 1)?.to_tensor());
        Ok(packed(list))
    }),
    ..OpDef::NEW
};
