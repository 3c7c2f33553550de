//! GlobalAveragePool: the mean of each channel over all spatial axes.

use crate::floats::{narrow, widen};
use crate::ops::nn::global_pool::{infer, lower, planes};
use crate::{OpDef, OpError, Param, TypeSet, operand};
use planc_kir::ReduceOp;

/// The row of GlobalAveragePool.
pub const OP: OpDef = OpDef {
    name: "GlobalAveragePool",
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
        let y = data.chunks(plane).map(|v| v.iter().sum::<f64>() / v.len() as f64).collect();
        Ok::<_, OpError>(vec![narrow(x.dtype(), &shape, y)?])
    }),
    lower: |cx| lower(cx, ReduceOp::Mean),
    ..OpDef::NEW
};
