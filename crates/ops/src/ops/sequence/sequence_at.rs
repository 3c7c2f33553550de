//! SequenceAt: the element at a position.

use crate::sequences::{element, element_type, position, tensors};
use crate::{OpDef, OpError, Param, TypeSet};

/// The row of SequenceAt.
pub const OP: OpDef = OpDef {
    name: "SequenceAt",
    since: 11,
    types: &[("S", TypeSet::ALL), ("I", TypeSet::INDEX), ("T", TypeSet::ALL)],
    inputs: &[Param::req("input_sequence", "S"), Param::req("position", "I")],
    outputs: &[Param::req("tensor", "T")],
    infer: |cx| {
        let ty = element(cx, 0, element_type(cx, 0)?);
        cx.set(0, ty);
        Ok(())
    },
    eval: Some(|_, inputs| {
        let mut list = tensors(inputs, 0)?;
        let last = list.len().checked_sub(1).ok_or_else(|| OpError::value("the sequence is empty"))?;
        Ok(vec![list.swap_remove(position(inputs, 1, (last + 1, last), last)?)])
    }),
    ..OpDef::NEW
};
