//! Round: nearest integer, ties to even.

use crate::elementwise::{eval_float, lower_unary};
use crate::{OpDef, schema};
use planc_kir::UnOp;

/// The row of Round.
pub const OP: OpDef = OpDef {
    name: "Round",
    since: 11,
    eval: Some(|_, inputs| eval_float(inputs, f64::round_ties_even)),
    lower: |cx| lower_unary(cx, UnOp::Round),
    ..schema::UNARY
};
