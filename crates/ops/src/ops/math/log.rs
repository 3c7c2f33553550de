//! Log: natural logarithm.

use crate::elementwise::{eval_float, lower_unary};
use crate::{OpDef, Param, schema};
use planc_kir::UnOp;

/// The row of Log.
pub const OP: OpDef = OpDef {
    name: "Log",
    inputs: &[Param::req("input", "T")],
    outputs: &[Param::req("output", "T")],
    eval: Some(|_, inputs| eval_float(inputs, libm::log)),
    lower: |cx| lower_unary(cx, UnOp::Log),
    ..schema::UNARY
};
