//! Cosh: hyperbolic cosine.

use crate::elementwise::{eval_float, lower_unary};
use crate::{OpDef, Param, schema};
use planc_kir::UnOp;

/// The row of Cosh.
pub const OP: OpDef = OpDef {
    name: "Cosh",
    since: 9,
    inputs: &[Param::req("input", "T")],
    outputs: &[Param::req("output", "T")],
    eval: Some(|_, inputs| eval_float(inputs, libm::cosh)),
    lower: |cx| lower_unary(cx, UnOp::Cosh),
    ..schema::UNARY
};
