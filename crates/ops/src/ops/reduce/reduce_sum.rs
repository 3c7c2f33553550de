//! ReduceSum: the sum over axes.

use crate::{OpDef, reduction};
use planc_kir::ReduceOp;

/// The row of ReduceSum.
pub const OP: OpDef = OpDef {
    name: "ReduceSum",
    infer: |cx| reduction::infer(cx, |x| Some(x.iter().cloned().sum())),
    eval: Some(|cx, inputs| reduction::eval(cx, inputs, ReduceOp::Sum)),
    lower: |cx| reduction::lower(cx, ReduceOp::Sum),
    ..reduction::ROW_13
};
