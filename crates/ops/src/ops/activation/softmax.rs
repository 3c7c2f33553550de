//! Softmax: exp(x - max) / sum along an axis.

use crate::rowwise::{self, eval, infer, lower};
use crate::{OpDef, Param};

/// The row of Softmax.
pub const OP: OpDef = OpDef {
    name: "Softmax",
    inputs: &[Param::req("input", "T")],
    outputs: &[Param::req("output", "T")],
    infer,
    eval: Some(|cx, inputs| {
        eval(cx, inputs, |row| {
            let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            row.iter_mut().for_each(|v| *v = libm::exp(*v - max));
            let sum: f64 = row.iter().sum();
            row.iter_mut().for_each(|v| *v /= sum);
        })
    }),
    lower: |cx| lower(cx, false),
    ..rowwise::ROW
};
