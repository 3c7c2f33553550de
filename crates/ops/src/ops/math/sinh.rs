//! Sinh: hyperbolic sine.

use crate::elementwise::{eval_float, lower_unary};
use crate::{OpDef, Param, schema};
use planc_kir::UnOp;

/// The row of Sinh.
pub const OP: OpDef = OpDef {
    name: "Sinh",
    since: 9,
    inputs: &[Param::req("input", "T")],
    outputs: &[Param::req("output", "T")],
    eval: Some(|_, inputs| eval_float(inputs, libm::sinh)),
    lower: |cx| lower_unary(cx, UnOp::Sinh),
    ..schema::UNARY
};
