//! ReduceMin: the minimum over axes.

use crate::{OpDef, TypeSet, reduction};
use planc_kir::ReduceOp;

/// The row of ReduceMin.
pub const OP: OpDef = OpDef {
    name: "ReduceMin",
    types: &[("T", reduction::ORDERED), ("tensor(int64)", TypeSet::I64)],
    infer: |cx| reduction::infer(cx, |x| x.iter().cloned().reduce(|a, b| a.minimum(&b))),
    eval: Some(|cx, inputs| reduction::eval(cx, inputs, ReduceOp::Min)),
    lower: |cx| reduction::lower(cx, ReduceOp::Min),
    ..reduction::ROW
};
