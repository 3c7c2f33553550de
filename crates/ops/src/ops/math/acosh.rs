//! Acosh: inverse hyperbolic cosine; NaN below 1.

use crate::elementwise::{eval_float, lower_unary};
use crate::{OpDef, Param, schema};
use planc_kir::UnOp;

/// The row of Acosh.
pub const OP: OpDef = OpDef {
    name: "Acosh",
    since: 9,
    inputs: &[Param::req("input", "T")],
    outputs: &[Param::req("output", "T")],
    eval: Some(|_, inputs| eval_float(inputs, libm::acosh)),
    lower: |cx| lower_unary(cx, UnOp::Acosh),
    ..schema::UNARY
};
