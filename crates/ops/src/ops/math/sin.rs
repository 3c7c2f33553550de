//! Sin: sine of radians.

use crate::elementwise::{eval_float, lower_unary};
use crate::{OpDef, Param, schema};
use planc_kir::UnOp;

/// The row of Sin.
pub const OP: OpDef = OpDef {
    name: "Sin",
    since: 7,
    inputs: &[Param::req("input", "T")],
    outputs: &[Param::req("output", "T")],
    eval: Some(|_, inputs| eval_float(inputs, libm::sin)),
    lower: |cx| lower_unary(cx, UnOp::Sin),
    ..schema::UNARY
};
