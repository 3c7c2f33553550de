//! LeakyRelu: x, or alpha x below zero.

use crate::elementwise::{eval_float, lower_formula};
use crate::{AttrDef, OpDef, schema};
use planc_kir::BinOp;

/// The row of LeakyRelu.
pub const OP: OpDef = OpDef {
    name: "LeakyRelu",
    attrs: &[AttrDef::float("alpha", 0.01), schema::CONSUMED_INPUTS],
    eval: Some(|cx, inputs| {
        let alpha = f64::from(cx.float("alpha"));
        eval_float(inputs, |v| if v < 0.0 { alpha * v } else { v })
    }),
    lower: |cx| {
        let alpha = f64::from(cx.float("alpha"));
        lower_formula(cx, |b, x| {
            let scaled = b.binary_const(BinOp::Mul, x[0], alpha);
            let below = b.binary_const(BinOp::Lt, x[0], 0.0);
            Some(b.select(below, scaled, x[0]))
        })
    },
    ..schema::UNARY
};
