//! Tan: tangent of radians.

use crate::elementwise::{eval_float, lower_unary};
use crate::{OpDef, Param, schema};
use planc_kir::UnOp;

/// The row of Tan.
pub const OP: OpDef = OpDef {
    name: "Tan",
    since: 7,
    inputs: &[Param::req("input", "T")],
    outputs: &[Param::req("output", "T")],
    eval: Some(|_, inputs| eval_float(inputs, libm::tan)),
    lower: |cx| lower_unary(cx, UnOp::Tan),
    ..schema::UNARY
};
