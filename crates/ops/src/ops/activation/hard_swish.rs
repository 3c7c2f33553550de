//! HardSwish: x times x / 6 + 1 / 2 clamped to 0 to 1.

use crate::elementwise::{eval_float, lower_formula};
use crate::{OpDef, schema};
use planc_kir::BinOp;

/// The row of HardSwish.
pub const OP: OpDef = OpDef {
    name: "HardSwish",
    since: 14,
    eval: Some(|_, inputs| eval_float(inputs, |v| v * (v / 6.0 + 0.5).clamp(0.0, 1.0))),
    lower: |cx| {
        lower_formula(cx, |b, x| {
            let y = b.binary_const(BinOp::Mul, x[0], 1.0 / 6.0);
            let y = b.binary_const(BinOp::Add, y, 0.5);
            let y = b.binary_const(BinOp::Min, y, 1.0);
            let y = b.binary_const(BinOp::Max, y, 0.0);
            Some(b.binary(BinOp::Mul, x[0], y))
        })
    },
    ..schema::UNARY
};
