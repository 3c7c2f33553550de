//! ReduceLogSumExp: the logarithm of the sum of exponentials, without overflow over axes.

use crate::{OpDef, reduction};
use planc_kir::ReduceOp;

/// The row of ReduceLogSumExp.
pub const OP: OpDef = OpDef {
    name: "ReduceLogSumExp",
    infer: |cx| reduction::infer(cx, reduction::unknown),
    eval: Some(|cx, inputs| reduction::eval(cx, inputs, ReduceOp::LogSumExp)),
    lower: |cx| reduction::lower(cx, ReduceOp::LogSumExp),
    ..reduction::ROW
};
