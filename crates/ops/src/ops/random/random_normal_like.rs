//! RandomNormalLike: normally distributed numbers in the shape of the operand.

use crate::ops::random::generator::{SEED, fill, infer_like};
use crate::{AttrDef, AttrKind, OpDef, Param, Props, TypeSet, operand};

/// The row of RandomNormalLike.
pub const OP: OpDef = OpDef {
    name: "RandomNormalLike",
    types: &[("T1", TypeSet::ALL), ("T", TypeSet::FLOAT)],
    inputs: &[Param::req("input", "T1")],
    outputs: &[Param::req("output", "T")],
    attrs: &[
        AttrDef::optional("dtype", AttrKind::Int),
        AttrDef::float("mean", 0.0),
        AttrDef::float("scale", 1.0),
        SEED,
    ],
    props: Props::RANDOM,
    infer: infer_like,
    eval: Some(|cx, inputs| {
        let (mean, scale) = (cx.float("mean"), cx.float("scale"));
        fill(cx, operand(inputs, 0)?.shape(), |g| f64::from(mean) + f64::from(scale) * g.normal())
    }),
    ..OpDef::NEW
};
