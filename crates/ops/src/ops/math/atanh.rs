//! Atanh: inverse hyperbolic tangent; NaN outside -1 to 1.

use crate::elementwise::{eval_float, lower_unary};
use crate::{OpDef, Param, schema};
use planc_kir::UnOp;

/// The row of Atanh.
pub const OP: OpDef = OpDef {
    name: "Atanh",
    since: 9,
    inputs: &[Param::req("input", "T")],
    outputs: &[Param::req("output", "T")],
    eval: Some(|_, inputs| eval_float(inputs, libm::atanh)),
    lower: |cx| lower_unary(cx, UnOp::Atanh),
    ..schema::UNARY
};
