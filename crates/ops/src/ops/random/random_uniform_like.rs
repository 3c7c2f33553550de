//! RandomUniformLike: uniformly distributed numbers in the shape of the operand.

use crate::ops::random::generator::{SEED, fill, infer_like};
use crate::{AttrDef, AttrKind, OpDef, Param, Props, TypeSet, operand};

/// The row of RandomUniformLike.
pub const OP: OpDef = OpDef {
    name: "RandomUniformLike",
    types: &[("T1", TypeSet::ALL), ("T", TypeSet::FLOAT)],
    inputs: &[Param::req("input", "T1")],
    outputs: &[Param::req("output", "T")],
    attrs: &[AttrDef::optional("dtype", AttrKind::Int), AttrDef::float("high", 1.0), AttrDef::float("low", 0.0), SEED],
    props: Props::RANDOM,
    infer: infer_like,
    eval: Some(|cx, inputs| {
        let (low, high) = (cx.float("low"), cx.float("high"));
        fill(cx, operand(inputs, 0)?.shape(), |g| f64::from(low) + (f64::from(high) - f64::from(low)) * g.uniform())
    }),
    ..OpDef::NEW
};
