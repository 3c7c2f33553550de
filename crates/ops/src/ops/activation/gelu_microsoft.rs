//! Gelu (com.microsoft): x (1 + erf(x / sqrt(2))) / 2.

use super::gelu;
use crate::elementwise::{eval_float, lower_formula};
use crate::{OpDef, schema};

/// The row of Gelu of com.microsoft.
pub const OP: OpDef = OpDef {
    name: "Gelu",
    domain: "com.microsoft",
    attrs: &[],
    upgrades: &[],
    eval: Some(|_, inputs| eval_float(inputs, gelu::value)),
    lower: |cx| lower_formula(cx, |b, x| Some(gelu::formula(b, x[0]))),
    ..schema::UNARY
};
