//! Asinh: inverse hyperbolic sine.

use crate::elementwise::{eval_float, lower_unary};
use crate::{OpDef, Param, schema};
use planc_kir::UnOp;

/// The row of Asinh.
pub const OP: OpDef = OpDef {
    name: "Asinh",
    since: 9,
    inputs: &[Param::req("input", "T")],
    outputs: &[Param::req("output", "T")],
    eval: Some(|_, inputs| eval_float(inputs, libm::asinh)),
    lower: |cx| lower_unary(cx, UnOp::Asinh),
    ..schema::UNARY
};
