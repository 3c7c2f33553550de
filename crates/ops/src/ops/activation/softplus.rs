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
pub(super) fn formula(b: &mut ExprBuilder, x: Reg) -> Reg {
    let y = b.unary(UnOp::Abs, x);
    let y = b.unary(UnOp::Neg, y);
    let y = b.unary(UnOp::Exp, y);
    let y = b.binary_const(BinOp::Add, y, 1.0);
    let y = b.unary(UnOp::Log, y);
    let x = b.binary_const(BinOp::Max, x, 0.0);
    b.binary(BinOp::Add, x, y)
}
