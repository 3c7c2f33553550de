//! HardSigmoid: alpha x + beta, clamped to 0 to 1.

use crate::elementwise::{eval_float, lower_formula};
use crate::{AttrDef, OpDef, schema};
use planc_kir::BinOp;

/// The row of HardSigmoid.
pub const OP: OpDef = OpDef {
    name: "HardSigmoid",
    attrs: &[AttrDef::float("alpha", 0.2), AttrDef::float("beta", 0.5), schema::CONSUMED_INPUTS],
    eval: Some(|cx, inputs| {
        let alpha = f64::from(cx.float("alpha"));
        let beta = f64::from(cx.float("beta"));
        eval_float(inputs, |v| (alpha * v + beta).clamp(0.0, 1.0))
    }),
    lower: |cx| {
        let alpha = f64::from(cx.float("alpha"));
        let beta = f64::from(cx.float("beta"));
        lower_formula(cx, |b, x| {
            let y = b.binary_const(BinOp::Mul, x[0], alpha);
            let y = b.binary_const(BinOp::Add, y, beta);
            let y = b.binary_const(BinOp::Min, y, 1.0);
            Some(b.binary_const(BinOp::Max, y, 0.0))
        })
    },
    ..schema::UNARY
};
