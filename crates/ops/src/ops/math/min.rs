//! Min: the least of all operands, broadcast; NaN if any is NaN.

use crate::elementwise::{eval_fold, infer_broadcast, lower_fold};
use crate::{OpDef, OpError, Param, TypeSet, known, numeric2, schema};
use planc_kir::BinOp;
use planc_tensor::Tensor;

/// The row of Min.
pub const OP: OpDef = OpDef {
    name: "Min",
    types: &[("T", TypeSet::NUMERIC)],
    outputs: &[Param::req("min", "T")],
    infer: |cx| {
        infer_broadcast(cx)?;
        known::combine_all(cx, |a, b| Some(a.minimum(b)));
        Ok(())
    },
    eval: Some(|cx, inputs| {
        eval_fold(inputs, |pair| {
            let z: Result<Vec<Tensor>, OpError> = numeric2!(cx, pair, |x, y| int x.min(y), float {
                if x < y || x.is_nan() { x } else { y }
            });
            z?.pop().ok_or_else(|| OpError::arity("no operands"))
        })
    }),
    lower: |cx| lower_fold(cx, BinOp::Min),
    ..schema::VARIADIC
};
