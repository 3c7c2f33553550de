//! Celu: max(0, x) + min(0, alpha (exp(x / alpha) - 1)).

use crate::elementwise::{eval_float, lower_formula};
use crate::{AttrDef, OpDef, schema};
use planc_kir::{BinOp, UnOp};

/// The row of Celu.
pub const OP: OpDef = OpDef {
    name: "Celu",
    since: 12,
    attrs: &[AttrDef::float("alpha", 1.0)],
    eval: Some(|cx, inputs| {
        let alpha = f64::from(cx.float("alpha"));
        eval_float(inputs, |v| (if v < 0.0 { 0.0 } else { v }) + f64::min(0.0, alpha * libm::expm1(v / alpha)))
    }),
    lower: |cx| {
        let alpha = f64::from(cx.float("alpha"));
        lower_formula(cx, |b, x| {
            let y = b.binary_const(BinOp::Div, x[0], alpha);
            let y = b.unary(UnOp::Exp, y);
            let y = b.binary_const(BinOp::Sub, y, 1.0);
            let y = b.binary_const(BinOp::Mul, y, alpha);
            let y = b.binary_const(BinOp::Min, y, 0.0);
            let x = b.binary_const(BinOp::Max, x[0], 0.0);
            Some(b.binary(BinOp::Add, x, y))
        })
    },
    ..schema::UNARY
};
