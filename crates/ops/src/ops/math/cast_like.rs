//! CastLike: the elements of operand 0 converted to the element type of operand 1.

use crate::cast::{self, convert};
use crate::elementwise::only;
use crate::{AttrDef, Lowered, OpDef, Param, known, operand};
use planc_tensor::DType;

/// The row of CastLike.
pub const OP: OpDef = OpDef {
    name: "CastLike",
    since: 15,
    types: &[("T1", cast::TYPES), ("T2", cast::TYPES)],
    inputs: &[Param::req("input", "T1"), Param::req("target_type", "T2")],
    outputs: &[Param::req("output", "T2")],
    attrs: &[AttrDef::int("saturate", 1).since(19), AttrDef::str("round_mode", "up").since(24)],
    infer: |cx| {
        let to = cx.dtype(1)?;
        cast::rounding(cx.int("saturate"), cx.str("round_mode"))?;
        let (from, shape) = (cx.dtype(0)?, cx.shape(0)?.map(<[_]>::to_vec));
        cx.set_shape(0, to, shape);
        if known::holds_extents(to) && (from == DType::Bool || known::holds_extents(from)) {
            known::pass_through(cx);
        }
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let rounding = cast::rounding(cx.int("saturate"), cx.str("round_mode"))?;
        Ok(vec![convert(only(inputs)?, operand(inputs, 1)?.dtype(), rounding)?])
    }),
    lower: |cx| cx.dtype(1).map_or(Lowered::Reference, |to| cast::lower(cx, to)),
    ..OpDef::NEW
};
