//! Sqrt: square root; NaN below zero.

use crate::elementwise::{eval_float, lower_unary};
use crate::{OpDef, schema};
use planc_kir::UnOp;

/// The row of Sqrt.
pub const OP: OpDef = OpDef {
    name: "Sqrt",
    eval: Some(|_, inputs| eval_float(inputs, f64::sqrt)),
    lower: |cx| lower_unary(cx, UnOp::Sqrt),
    ..schema::UNARY
};
