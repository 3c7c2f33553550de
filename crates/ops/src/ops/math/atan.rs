//! Atan: inverse tangent.

use crate::elementwise::{eval_float, lower_unary};
use crate::{OpDef, Param, schema};
use planc_kir::UnOp;

/// The row of Atan.
pub const OP: OpDef = OpDef {
    name: "Atan",
    since: 7,
    inputs: &[Param::req("input", "T")],
    outputs: &[Param::req("output", "T")],
    eval: Some(|_, inputs| eval_float(inputs, libm::atan)),
    lower: |cx| lower_unary(cx, UnOp::Atan),
    ..schema::UNARY
};
