//! ReduceMax: the maximum over axes.

use crate::{OpDef, TypeSet, reduction};
use planc_kir::ReduceOp;

/// The row of ReduceMax.
pub const OP: OpDef = OpDef {
    name: "ReduceMax",
    types: &[("T", reduction::ORDERED), ("tensor(int64)", TypeSet::I64)],
    infer: |cx| reduction::infer(cx, |x| x.iter().cloned().reduce(|a, b| a.maximum(&b))),
    eval: Some(|cx, inputs| reduction::eval(cx, inputs, ReduceOp::Max)),
    lower: |cx| reduction::lower(cx, ReduceOp::Max),
    ..reduction::ROW
};
