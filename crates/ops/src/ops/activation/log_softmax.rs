//! LogSoftmax: the logarithm of Softmax, x - max - log(sum).

use crate::rowwise::{self, eval, infer, lower};
use crate::{OpDef, Param};

/// The row of LogSoftmax.
pub const OP: OpDef = OpDef {
    name: "LogSoftmax",
    inputs: &[Param::req("input", "T")],
    outputs: &[Param::req("output", "T")],
    infer,
    eval: Some(|cx, inputs| {
        eval(cx, inputs, |row| {
            let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = row.iter().map(|v| libm::exp(*v - max)).sum();
            let log = libm::log(sum);
            row.iter_mut().for_each(|v| *v = *v - max - log);
        })
    }),
    lower: |cx| lower(cx, true),
    ..rowwise::ROW
};
