//! Mish: x tanh(log(1 + exp(x))).

use super::softplus;
use crate::elementwise::{eval_float, lower_formula};
use crate::{OpDef, schema};
use planc_kir::{BinOp, UnOp};

/// The row of Mish.
pub const OP: OpDef = OpDef {
    name: "Mish",
    since: 18,
    eval: Some(|_, inputs| eval_float(inputs, |v| v * libm::tanh(softplus::value(v)))),
    lower: |cx| {
        lower_formula(cx, |b, x| {
            let y = softplus::formula(b, x[0]);
            let y = b.unary(UnOp::Tanh, y);
            Some(b.binary(BinOp::Mul, x[0], y))
        })
    },
    ..schema::UNARY
};
