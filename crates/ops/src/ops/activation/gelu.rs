//! Gelu: x (1 + erf(x / sqrt(2))) / 2, or its approximation by tanh.

use crate::elementwise::{eval_float, lower_formula};
use crate::{AttrDef, InferCx, OpDef, OpError, schema};
use planc_kir::{BinOp, ExprBuilder, Reg, UnOp};
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

/// The row of Gelu.
pub const OP: OpDef = OpDef {
    name: "Gelu",
    since: 20,
    attrs: &[AttrDef::str("approximate", "none")],
    infer: |cx| {
        check(cx)?;
        crate::elementwise::infer_same(cx)
    },
    eval: Some(|cx, inputs| match cx.str("approximate") {
        "tanh" => eval_float(inputs, tanh_value),
        _ => eval_float(inputs, value),
    }),
    lower: |cx| match cx.str("approximate") {
        "tanh" => lower_formula(cx, |b, x| Some(tanh_formula(b, x[0]))),
        _ => lower_formula(cx, |b, x| Some(formula(b, x[0]))),
    },
    ..schema::UNARY
};

fn check(cx: &InferCx<'_>) -> Result<(), OpError> {
    match cx.str("approximate") {
        "none" | "tanh" => Ok(()),
        other => Err(OpError::attribute(format!("approximate is {other:?}, not none or tanh"))),
    }
}

/// x (1 + erf(x / sqrt(2))) / 2.
pub(in crate::ops) fn value(x: f64) -> f64 {
    0.5 * x * (1.0 + libm::erf(x * FRAC_1_SQRT_2))
}

/// x (1 + erf(x / sqrt(2))) / 2.
pub(in crate::ops) fn formula(b: &mut ExprBuilder, x: Reg) -> Reg {
    let y = b.binary_const(BinOp::Mul, x, FRAC_1_SQRT_2);
    let y = b.unary(UnOp::Erf, y);
    half_of(b, x, y)
}

/// sqrt(2 / pi).
const SCALE: f64 = FRAC_2_SQRT_PI * FRAC_1_SQRT_2;
/// Coefficient of the cubic term (Hendrycks and Gimpel 2016).
const CUBIC: f64 = 0.044715;

/// x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2.
pub(in crate::ops) fn tanh_value(x: f64) -> f64 {
    0.5 * x * (1.0 + libm::tanh(SCALE * (x + CUBIC * x * x * x)))
}

/// x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2.
pub(in crate::ops) fn tanh_formula(b: &mut ExprBuilder, x: Reg) -> Reg {
    let y = b.binary(BinOp::Mul, x, x);
    let y = b.binary_const(BinOp::Mul, y, SCALE * CUBIC);
    let y = b.binary_const(BinOp::Add, y, SCALE);
    let y = b.binary(BinOp::Mul, y, x);
    let y = b.unary(UnOp::Tanh, y);
    half_of(b, x, y)
}

/// x (1 + y) / 2.
fn half_of(b: &mut ExprBuilder, x: Reg, y: Reg) -> Reg {
    let y = b.binary_const(BinOp::Add, y, 1.0);
    let x = b.binary_const(BinOp::Mul, x, 0.5);
    b.binary(BinOp::Mul, x, y)
}
