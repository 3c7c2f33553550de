//! Tanh: hyperbolic tangent.

use crate::elementwise::{eval_float, lower_unary};
use crate::{OpDef, Param, schema};
use planc_kir::UnOp;

/// The row of Tanh.
pub const OP: OpDef = OpDef {
    name: "Tanh",
    inputs: &[Param::req("input", "T")],
    outputs: &[Param::req("output", "T")],
    eval: Some(|_, inputs| eval_float(inputs, libm::tanh)),
    lower: |cx| lower_unary(cx, UnOp::Tanh),
    ..schema::UNARY
};
