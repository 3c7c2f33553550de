//! ReduceL2: the square root of the sum of squares over axes.

use crate::{OpDef, reduction};
use planc_kir::ReduceOp;

/// The row of ReduceL2.
pub const OP: OpDef = OpDef {
    name: "ReduceL2",
    infer: |cx| reduction::infer(cx, reduction::unknown),
    eval: Some(|cx, inputs| reduction::eval(cx, inputs, ReduceOp::L2)),
    lower: |cx| reduction::lower(cx, ReduceOp::L2),
    ..reduction::ROW
};
