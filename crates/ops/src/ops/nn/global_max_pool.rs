//! GlobalMaxPool: the maximum of each channel over all spatial axes.

use crate::floats::{narrow, widen};
use crate::ops::nn::global_pool::{infer, lower, planes};
use crate::{OpDef, OpError, Param, TypeSet, operand};
use planc_kir::ReduceOp;

/// The row of GlobalMaxPool.
pub const OP: OpDef = OpDef {
    name: "GlobalMaxPool",
    types: &[("T", TypeSet::FLOAT)],
    inputs: &[Param::req("X", "T")],
    outputs: &[Param::req("Y", "T")],
    infer,
    eval: Some(|_, inputs| {
        let x = operand(inputs, 0)?;
        let ((shape, plane), data) = (planes(x)?, widen(x)?);
        if plane == 0 {
            return Err(OpError::shape("the spatial axes have no elements"));
        }
        let y = data
            .chunks(plane)
            .map(|v| v.iter().copied().fold(f64::NEG_INFINITY, |a, b| if b > a || b.is_nan() { b } else { a }))
            .collect();
        Ok::<_, OpError>(vec![narrow(x.dtype(), &shape, y)?])
    }),
    lower: |cx| lower(cx, ReduceOp::Max),
    ..OpDef::NEW
};
