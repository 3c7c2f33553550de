//! Asin: inverse sine; NaN outside -1 to 1.

use crate::elementwise::{eval_float, lower_unary};
use crate::{OpDef, Param, schema};
use planc_kir::UnOp;

/// The row of Asin.
pub const OP: OpDef = OpDef {
    name: "Asin",
    since: 7,
    inputs: &[Param::req("input", "T")],
    outputs: &[Param::req("output", "T")],
    eval: Some(|_, inputs| eval_float(inputs, libm::asin)),
    lower: |cx| lower_unary(cx, UnOp::Asin),
    ..schema::UNARY
};
