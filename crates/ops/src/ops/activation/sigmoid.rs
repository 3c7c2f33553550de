//! Sigmoid: 1 / (1 + exp(-x)).

use crate::elementwise::{eval_float, lower_unary};
use crate::{OpDef, schema};
use planc_kir::UnOp;

/// The row of Sigmoid.
pub const OP: OpDef = OpDef {
    name: "Sigmoid",
    eval: Some(|_, inputs| eval_float(inputs, |v| 1.0 / (1.0 + libm::exp(-v)))),
    lower: |cx| lower_unary(cx, UnOp::Sigmoid),
    ..schema::UNARY
};
