//! Softplus: log(1 + exp(x)), computed as max(x, 0) + log(1 + exp(-|x|)), which does not overflow.

use crate::elementwise::{eval_float, lower_formula};
use crate::{OpDef, schema};
use planc_kir::{BinOp, ExprBuilder, Reg, UnOp};

/// The row of Softplus.
pub const OP: OpDef = OpDef {
    name: "Softplus",
    eval: Some(|_, inputs| eval_float(inputs, value)),
    lower: |cx| lower_formula(cx, |b, x| Some(formula(b, x[0]))),
    ..schema::UNARY
};

/// log(1 + exp(x)).
pub(super) fn value(x: f64) -> f64 {
    (if x < 0.0 { 0.0 } else { x }) + libm::log1p(libm::exp(-x.abs()))
}

/// log(1 + exp(x)).
///
/// What is lost when 1 + u is rounded, u = exp(-|x|), is added again to the first order: log(1 + u) = log(w) + (u - (w - 1)) / w
/// with w = 1 + u rounded. Without it every result below half an epsilon would be 0.
pub(super) fn formula(b: &mut ExprBuilder, x: Reg) -> Reg {
    let u = b.unary(UnOp::Abs, x);
    let u = b.unary(UnOp::Neg, u);
    let u = b.unary(UnOp::Exp, u);
    let w = b.binary_const(BinOp::Add, u, 1.0);
    let log = b.unary(UnOp::Log, w);
    let kept = b.binary_const(BinOp::Sub, w, 1.0);
    let lost = b.binary(BinOp::Sub, u, kept);
    let lost = b.binary(BinOp::Div, lost, w);
    let log = b.binary(BinOp::Add, log, lost);
    let x = b.binary_const(BinOp::Max, x, 0.0);
    b.binary(BinOp::Add, x, log)
}
