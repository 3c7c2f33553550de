//! Sum: the sum of all operands, broadcast.

use crate::elementwise::{eval_fold, lower_fold};
use crate::{OpDef, OpError, Param, numeric2, schema};
use planc_kir::BinOp;
use planc_tensor::Tensor;

/// The row of Sum.
pub const OP: OpDef = OpDef {
    name: "Sum",
    outputs: &[Param::req("sum", "T")],
    eval: Some(|cx, inputs| {
        eval_fold(inputs, |pair| {
            let z: Result<Vec<Tensor>, OpError> = numeric2!(cx, pair, |x, y| int x.wrapping_add(y), float x + y);
            z?.pop().ok_or_else(|| OpError::arity("no operands"))
        })
    }),
    lower: |cx| lower_fold(cx, BinOp::Add),
    ..schema::VARIADIC
};
