//! ReduceSumSquare: the sum of squares over axes.

use crate::{OpDef, reduction};
use planc_kir::ReduceOp;

/// The row of ReduceSumSquare.
pub const OP: OpDef = OpDef {
    name: "ReduceSumSquare",
    infer: |cx| reduction::infer(cx, reduction::unknown),
    eval: Some(|cx, inputs| reduction::eval(cx, inputs, ReduceOp::SumSquare)),
    lower: |cx| reduction::lower(cx, ReduceOp::SumSquare),
    ..reduction::ROW
};
