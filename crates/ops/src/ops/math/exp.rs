//! Exp: e to the power x.

use crate::elementwise::{eval_float, lower_unary};
use crate::{OpDef, Param, schema};
use planc_kir::UnOp;

/// The row of Exp.
pub const OP: OpDef = OpDef {
    name: "Exp",
    inputs: &[Param::req("input", "T")],
    outputs: &[Param::req("output", "T")],
    eval: Some(|_, inputs| eval_float(inputs, libm::exp)),
    lower: |cx| lower_unary(cx, UnOp::Exp),
    ..schema::UNARY
};
