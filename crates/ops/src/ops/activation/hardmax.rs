//! Hardmax: 1 at the first maximum along an axis, 0 elsewhere.

use crate::rowwise::{self, eval, infer};
use crate::{OpDef, Param};

/// The row of Hardmax.
pub const OP: OpDef = OpDef {
    name: "Hardmax",
    inputs: &[Param::req("input", "T")],
    outputs: &[Param::req("output", "T")],
    infer,
    eval: Some(|cx, inputs| {
        eval(cx, inputs, |row| {
            let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let at = row.iter().position(|v| *v == max);
            row.iter_mut().enumerate().for_each(|(i, v)| *v = if Some(i) == at { 1.0 } else { 0.0 });
        })
    }),
    ..rowwise::ROW
};
