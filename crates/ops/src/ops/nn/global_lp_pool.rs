//! GlobalLpPool: the p-norm of each channel over all spatial axes.

use crate::floats::{narrow, widen};
use crate::ops::nn::global_pool::{infer, lower, planes};
use crate::ops::nn::lp_pool::{power, whole_p};
use crate::{AttrDef, Lowered, OpDef, OpError, Param, TypeSet, Upgrade, operand};
use planc_kir::ReduceOp;

/// The row of GlobalLpPool.
pub const OP: OpDef = OpDef {
    name: "GlobalLpPool",
    types: &[("T", TypeSet::FLOAT)],
    inputs: &[Param::req("X", "T")],
    outputs: &[Param::req("Y", "T")],
    attrs: &[AttrDef::int("p", 2)],
    upgrades: &[Upgrade { to: 2, step: whole_p }],
    infer: |cx| {
        power(cx.int("p"))?;
        infer(cx)
    },
    eval: Some(|cx, inputs| {
        let x = operand(inputs, 0)?;
        let ((shape, plane), data, p) = (planes(x)?, widen(x)?, power(cx.int("p"))?);
        let y = match plane {
            0 => vec![0.0; shape.iter().product()],
            _ => data.chunks(plane).map(|v| v.iter().map(|v| v.abs().powf(p)).sum::<f64>().powf(1.0 / p)).collect(),
        };
        Ok::<_, OpError>(vec![narrow(x.dtype(), &shape, y)?])
    }),
    lower: |cx| match cx.int("p") {
        1 => lower(cx, ReduceOp::L1),
        2 => lower(cx, ReduceOp::L2),
        _ => Lowered::Reference,
    },
    ..OpDef::NEW
};
