//! Softsign: x / (1 + |x|).

use crate::elementwise::{eval_float, lower_formula};
use crate::{OpDef, Param, schema};
use planc_kir::{BinOp, UnOp};

/// The row of Softsign.
pub const OP: OpDef = OpDef {
    name: "Softsign",
    inputs: &[Param::req("input", "T")],
    outputs: &[Param::req("output", "T")],
    eval: Some(|_, inputs| eval_float(inputs, |v| v / (1.0 + v.abs()))),
    lower: |cx| {
        lower_formula(cx, |b, x| {
            let y = b.unary(UnOp::Abs, x[0]);
            let y = b.binary_const(BinOp::Add, y, 1.0);
            Some(b.binary(BinOp::Div, x[0], y))
        })
    },
    ..schema::UNARY
};
