//! Selu: gamma x, or gamma alpha (exp(x) - 1) where x is not positive.

use crate::elementwise::{eval_float, lower_formula};
use crate::{AttrDef, OpDef, Upgrade, schema};
use planc_kir::{BinOp, UnOp};

/// The row of Selu.
pub const OP: OpDef = OpDef {
    name: "Selu",
    attrs: &[AttrDef::float("alpha", 1.673_263_2), AttrDef::float("gamma", 1.050_701), schema::CONSUMED_INPUTS],
    upgrades: &[Upgrade {
        to: 6,
        // The defaults of opset 1 had fewer digits.
        step: |cx| {
            cx.attrs.take("consumed_inputs");
            for (name, old) in [("alpha", 1.6732f32), ("gamma", 1.0507)] {
                if cx.attrs.get(name).is_none() {
                    cx.attrs.set(name, old);
                }
            }
            Ok(())
        },
    }],
    eval: Some(|cx, inputs| {
        let (alpha, gamma) = (f64::from(cx.float("alpha")), f64::from(cx.float("gamma")));
        eval_float(inputs, |v| gamma * if v <= 0.0 { alpha * libm::expm1(v) } else { v })
    }),
    lower: |cx| {
        let (alpha, gamma) = (f64::from(cx.float("alpha")), f64::from(cx.float("gamma")));
        lower_formula(cx, |b, x| {
            let y = b.unary(UnOp::Exp, x[0]);
            let y = b.binary_const(BinOp::Sub, y, 1.0);
            let y = b.binary_const(BinOp::Mul, y, alpha);
            let below = b.binary_const(BinOp::Le, x[0], 0.0);
            let y = b.select(below, y, x[0]);
            Some(b.binary_const(BinOp::Mul, y, gamma))
        })
    },
    ..schema::UNARY
};
