//! Erf: Gauss error function.

use crate::elementwise::{eval_float, lower_unary};
use crate::{OpDef, Param, schema};
use planc_kir::UnOp;

/// The row of Erf.
pub const OP: OpDef = OpDef {
    name: "Erf",
    since: 9,
    inputs: &[Param::req("input", "T")],
    outputs: &[Param::req("output", "T")],
    eval: Some(|_, inputs| eval_float(inputs, libm::erf)),
    lower: |cx| lower_unary(cx, UnOp::Erf),
    ..schema::UNARY
};
