//! Mean: the mean of all operands, broadcast.

use super::sum;
use crate::elementwise::{fold, lower_formula, map_float};
use crate::{OpDef, OpError, Param, schema};
use planc_kir::BinOp;

/// The row of Mean.
pub const OP: OpDef = OpDef {
    name: "Mean",
    outputs: &[Param::req("mean", "T")],
    eval: Some(|cx, inputs| {
        let total = cx.eval_other(&sum::OP, cx.attrs(), inputs)?;
        let total = total.first().ok_or_else(|| OpError::arity("no operands"))?;
        Ok(vec![map_float(total.view(), |v| v / inputs.len() as f64)?])
    }),
    lower: |cx| {
        lower_formula(cx, |b, x| {
            let total = fold(b, BinOp::Add, x)?;
            Some(b.binary_const(BinOp::Div, total, x.len() as f64))
        })
    },
    ..schema::VARIADIC
};
