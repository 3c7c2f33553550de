//! ThresholdedRelu: x above alpha, else 0. An experiment of the same meaning before opset 10.

use crate::elementwise::{eval_float, lower_formula};
use crate::{AttrDef, OpDef, schema};
use planc_kir::BinOp;

/// The row of ThresholdedRelu.
pub const OP: OpDef = OpDef {
    name: "ThresholdedRelu",
    attrs: &[AttrDef::float("alpha", 1.0)],
    eval: Some(|cx, inputs| {
        let alpha = f64::from(cx.float("alpha"));
        eval_float(inputs, |v| if v > alpha { v } else { 0.0 })
    }),
    lower: |cx| {
        let alpha = f64::from(cx.float("alpha"));
        lower_formula(cx, |b, x| {
            let zero = b.constant(b.type_of(x[0]), 0.0);
            let above = b.binary_const(BinOp::Gt, x[0], alpha);
            Some(b.select(above, x[0], zero))
        })
    },
    ..schema::UNARY
};
