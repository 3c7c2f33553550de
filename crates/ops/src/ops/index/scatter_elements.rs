//! ScatterElements: data with updates[i] combined in at i with `axis` replaced by indices[i]. `Scatter` is its old name.

use super::scatter::{places, reduction, scatter};
use crate::{AttrDef, InferCx, Lowered, OpDef, OpError, Param, TypeSet, Upgrade, known, normal_axis, operand};
use planc_ir::OpName;
use planc_kir::Kernel;

/// The row of ScatterElements.
pub const OP: OpDef = OpDef {
    name: "ScatterElements",
    since: 11,
    types: &[("T", TypeSet::ALL), ("Tind", TypeSet::INDEX)],
    inputs: &[Param::req("data", "T"), Param::req("indices", "Tind"), Param::req("updates", "T")],
    outputs: &[Param::req("output", "T")],
    attrs: &[AttrDef::int("axis", 0), AttrDef::str("reduction", "none").since(16)],
    infer,
    eval: Some(|cx, inputs| {
        let (x, indices, updates) = (operand(inputs, 0)?, operand(inputs, 1)?, operand(inputs, 2)?);
        let axis = normal_axis(cx.int("axis"), x.rank())?;
        if indices.shape() != updates.shape() {
            return Err(OpError::shape("indices and updates differ in shape"));
        }
        let places = places(x.shape(), indices, axis)?;
        Ok(vec![scatter(cx, x, &places, 1, updates, reduction(cx.str("reduction"))?)?])
    }),
    lower: |cx| {
        let axis = cx.shape(0).ok().flatten().map(|d| cx.axis("axis", d.len()));
        match (axis, reduction(cx.str("reduction"))) {
            (Some(Ok(axis)), Ok(reduction)) => Lowered::kernel(Kernel::ScatterElements { axis, reduction }, 3),
            _ => Lowered::Reference,
        }
    },
    ..OpDef::NEW
};

/// The row of Scatter, which opset 11 renamed.
pub const SCATTER: OpDef = OpDef {
    name: "Scatter",
    since: 9,
    until: 11,
    attrs: &[AttrDef::int("axis", 0)],
    upgrades: &[Upgrade {
        to: 11,
        step: |cx| {
            *cx.op = OpName::onnx("ScatterElements");
            Ok(())
        },
    }],
    ..OP
};

fn infer(cx: &mut InferCx<'_>) -> Result<(), OpError> {
    reduction(cx.str("reduction"))?;
    let shape = cx.shape(0)?;
    if let Some(s) = shape {
        cx.axis("axis", s.len())?;
        if cx.shape(1)?.is_some_and(|i| i.len() != s.len()) {
            return Err(OpError::shape("data and indices differ in rank"));
        }
    }
    if let (Some(i), Some(u)) = (cx.shape(1)?, cx.shape(2)?) {
        known::same_shape(i, u, &[])?;
    }
    cx.set_shape(0, cx.dtype(0)?, shape.map(<[_]>::to_vec));
    Ok(())
}
