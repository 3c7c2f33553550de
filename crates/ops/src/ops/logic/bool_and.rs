//! And: whether both hold, broadcast.

use crate::elementwise::{infer_broadcast_as, lower_binary, map2};
use crate::{OpDef, Props, TypeSet, known, operand, schema};
use planc_kir::BinOp;
use planc_tensor::DType;

/// The row of And.
pub const OP: OpDef = OpDef {
    name: "And",
    types: &[("T", TypeSet::BOOL), ("T1", TypeSet::BOOL)],
    props: Props::ELEMENTWISE.or(Props::COMMUTATIVE),
    infer: |cx| {
        infer_broadcast_as(cx, DType::Bool)?;
        known::combine(cx, |a, b| Some(a.clone() * b.clone()));
        Ok(())
    },
    eval: Some(|cx, inputs| Ok(vec![map2(cx, operand(inputs, 0)?, operand(inputs, 1)?, |x: bool, y: bool| x & y)?])),
    lower: |cx| lower_binary(cx, BinOp::And),
    ..schema::COMPARISON
};
