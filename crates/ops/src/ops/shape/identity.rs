//! Identity: the operand, whatever its type.

use crate::elementwise::{infer_same, only};
use crate::{Lowered, OpDef, Param, Props, TypeSet, known};
use planc_kir::Kernel;

/// The row of Identity.
pub const OP: OpDef = OpDef {
    name: "Identity",
    types: &[("V", TypeSet::ALL)],
    inputs: &[Param::req("input", "V")],
    outputs: &[Param::req("output", "V")],
    props: Props::RESHAPES,
    infer: |cx| {
        infer_same(cx)?;
        known::pass_through(cx);
        Ok(())
    },
    eval: Some(|_, inputs| Ok(vec![only(inputs)?.to_tensor()])),
    lower: |_| Lowered::kernel(Kernel::Reshape, 1),
    ..OpDef::NEW
};
