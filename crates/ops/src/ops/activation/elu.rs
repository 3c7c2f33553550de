//! Elu: x, or alpha (exp(x) - 1) below zero.

use crate::elementwise::{eval_float, lower_formula};
use crate::{AttrDef, OpDef, schema};
use planc_kir::{BinOp, UnOp};

/// The row of Elu.
pub const OP: OpDef = OpDef {
    name: "Elu",
    attrs: &[AttrDef::float("alpha", 1.0), schema::CONSUMED_INPUTS],
    eval: Some(|cx, inputs| {
        let alpha = f64::from(cx.float("alpha"));
        eval_float(inputs, |v| if v < 0.0 { alpha * libm::expm1(v) } else { v })
    }),
    lower: |cx| {
        let alpha = f64::from(cx.float("alpha"));
        lower_formula(cx, |b, x| {
            let y = b.unary(UnOp::Exp, x[0]);
            let y = b.binary_const(BinOp::Sub, y, 1.0);
            let y = b.binary_const(BinOp::Mul, y, alpha);
            let below = b.binary_const(BinOp::Lt, x[0], 0.0);
            Some(b.select(below, y, x[0]))
        })
    },
    ..schema::UNARY
};
