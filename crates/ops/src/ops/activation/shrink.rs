//! Shrink: x + bias below -lambd, x - bias above lambd, else 0.

use crate::elementwise::{lower_formula, only};
use crate::scalar::{Wide, from_numbers, numbers};
use crate::{AttrDef, Lowered, OpDef, Param, TypeSet, schema};
use planc_kir::BinOp;

/// The row of Shrink.
pub const OP: OpDef = OpDef {
    name: "Shrink",
    since: 9,
    types: &[("T", TypeSet::NUMERIC)],
    inputs: &[Param::req("input", "T")],
    outputs: &[Param::req("output", "T")],
    attrs: &[AttrDef::float("bias", 0.0), AttrDef::float("lambd", 0.5)],
    upgrades: &[],
    eval: Some(|cx, inputs| {
        let x = only(inputs)?;
        let (bias, lambda) = (f64::from(cx.float("bias")), f64::from(cx.float("lambd")));
        let shrunk = |v: f64| {
            if v < -lambda {
                v + bias
            } else if v > lambda {
                v - bias
            } else {
                0.0
            }
        };
        let y = numbers(x, |v| Wide::Float(shrunk(v.as_f64())))?.into_iter();
        Ok(vec![from_numbers(x.dtype(), x.shape(), y, Default::default())?])
    }),
    lower: |cx| {
        if !cx.dtype(0).is_ok_and(|t| t.is_float()) {
            return Lowered::Reference;
        }
        let (bias, lambda) = (f64::from(cx.float("bias")), f64::from(cx.float("lambd")));
        lower_formula(cx, |b, x| {
            let (up, down) = (b.binary_const(BinOp::Add, x[0], bias), b.binary_const(BinOp::Sub, x[0], bias));
            let (below, above) = (b.binary_const(BinOp::Lt, x[0], -lambda), b.binary_const(BinOp::Gt, x[0], lambda));
            let zero = b.constant(b.type_of(x[0]), 0.0);
            let y = b.select(above, down, zero);
            Some(b.select(below, up, y))
        })
    },
    ..schema::UNARY
};
