//! QuickGelu (com.microsoft): x / (1 + exp(-alpha x)).

use crate::elementwise::{eval_float, lower_formula};
use crate::{AttrDef, OpDef, schema};
use planc_kir::{BinOp, UnOp};

/// The row of QuickGelu.
pub const OP: OpDef = OpDef {
    name: "QuickGelu",
    domain: "com.microsoft",
    attrs: &[AttrDef::float("alpha", 1.702)],
    upgrades: &[],
    eval: Some(|cx, inputs| {
        let alpha = f64::from(cx.float("alpha"));
        eval_float(inputs, |v| v / (1.0 + libm::exp(-alpha * v)))
    }),
    lower: |cx| {
        let alpha = f64::from(cx.float("alpha"));
        lower_formula(cx, |b, x| {
            let y = b.binary_const(BinOp::Mul, x[0], alpha);
            let y = b.unary(UnOp::Sigmoid, y);
            Some(b.binary(BinOp::Mul, x[0], y))
        })
    },
    ..schema::UNARY
};
