//! Ceil: rounded up.

use crate::elementwise::{eval_float, lower_unary};
use crate::{OpDef, schema};
use planc_kir::UnOp;

/// The row of Ceil.
pub const OP: OpDef = OpDef {
    name: "Ceil",
    eval: Some(|_, inputs| eval_float(inputs, f64::ceil)),
    lower: |cx| lower_unary(cx, UnOp::Ceil),
    ..schema::UNARY
};
