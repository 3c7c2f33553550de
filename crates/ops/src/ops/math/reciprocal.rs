//! Reciprocal: 1 / x.

use crate::elementwise::{eval_float, lower_formula};
use crate::{OpDef, schema};
use planc_kir::BinOp;

/// The row of Reciprocal.
pub const OP: OpDef = OpDef {
    name: "Reciprocal",
    eval: Some(|_, inputs| eval_float(inputs, f64::recip)),
    lower: |cx| {
        lower_formula(cx, |b, x| {
            let one = b.constant(b.type_of(x[0]), 1.0);
            Some(b.binary(BinOp::Div, one, x[0]))
        })
    },
    ..schema::UNARY
};
