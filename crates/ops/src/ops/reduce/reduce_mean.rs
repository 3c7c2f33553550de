//! ReduceMean: the mean over axes.

use crate::{OpDef, reduction};
use planc_kir::ReduceOp;

/// The row of ReduceMean.
pub const OP: OpDef = OpDef {
    name: "ReduceMean",
    infer: |cx| reduction::infer(cx, reduction::unknown),
    eval: Some(|cx, inputs| reduction::eval(cx, inputs, ReduceOp::Mean)),
    lower: |cx| reduction::lower(cx, ReduceOp::Mean),
    ..reduction::ROW
};
