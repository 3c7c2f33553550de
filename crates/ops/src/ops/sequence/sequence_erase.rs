//! SequenceErase: a sequence without the element at a position, by default the last.

use crate::sequences::{element_type, packed, position, tensors};
use crate::{OpDef, OpError, Param, TypeSet};
use planc_ir::Type;

/// The row of SequenceErase.
pub const OP: OpDef = OpDef {
    name: "SequenceErase",
    since: 11,
    types: &[("S", TypeSet::ALL), ("I", TypeSet::INDEX)],
    inputs: &[Param::req("input_sequence", "S"), Param::opt("position", "I")],
    outputs: &[Param::req("output_sequence", "S")],
    infer: |cx| {
        let ty = element_type(cx, 0)?.clone();
        cx.set(0, Type::Sequence(Box::new(ty)));
        Ok(())
    },
    eval: Some(|_, inputs| {
        let mut list = tensors(inputs, 0)?;
        let last = list.len().checked_sub(1).ok_or_else(|| OpError::value("the sequence is empty"))?;
        list.remove(position(inputs, 1, (last + 1, last), last)?);
        Ok(packed(list))
    }),
    ..OpDef::NEW
};
