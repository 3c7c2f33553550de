//! ReduceLogSum: the logarithm of the sum over axes.

use crate::{OpDef, reduction};
use planc_kir::ReduceOp;

/// The row of ReduceLogSum.
pub const OP: OpDef = OpDef {
    name: "ReduceLogSum",
    infer: |cx| reduction::infer(cx, reduction::unknown),
    eval: Some(|cx, inputs| reduction::eval(cx, inputs, ReduceOp::LogSum)),
    lower: |cx| reduction::lower(cx, ReduceOp::LogSum),
    ..reduction::ROW
};
