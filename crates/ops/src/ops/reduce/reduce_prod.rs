//! ReduceProd: the product over axes.

use crate::{OpDef, known, reduction};
use planc_kir::ReduceOp;

/// The row of ReduceProd.
pub const OP: OpDef = OpDef {
    name: "ReduceProd",
    infer: |cx| reduction::infer(cx, |x| Some(known::product(x))),
    eval: Some(|cx, inputs| reduction::eval(cx, inputs, ReduceOp::Prod)),
    lower: |cx| reduction::lower(cx, ReduceOp::Prod),
    ..reduction::ROW
};
