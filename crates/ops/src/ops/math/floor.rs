//! Floor: rounded down.

use crate::elementwise::{eval_float, lower_unary};
use crate::{OpDef, schema};
use planc_kir::UnOp;

/// The row of Floor.
pub const OP: OpDef = OpDef {
    name: "Floor",
    eval: Some(|_, inputs| eval_float(inputs, f64::floor)),
    lower: |cx| lower_unary(cx, UnOp::Floor),
    ..schema::UNARY
};
