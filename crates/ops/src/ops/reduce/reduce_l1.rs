//! ReduceL1: the sum of absolute values over axes.

use crate::{OpDef, reduction};
use planc_kir::ReduceOp;

/// The row of ReduceL1.
pub const OP: OpDef = OpDef {
    name: "ReduceL1",
    infer: |cx| reduction::infer(cx, reduction::unknown),
    eval: Some(|cx, inputs| reduction::eval(cx, inputs, ReduceOp::L1)),
    lower: |cx| reduction::lower(cx, ReduceOp::L1),
    ..reduction::ROW
};
