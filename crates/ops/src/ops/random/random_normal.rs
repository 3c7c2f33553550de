//! RandomNormal: normally distributed numbers.

use crate::ops::random::generator::{SEED, fill, infer_shape, shape_of};
use crate::{AttrDef, AttrKind, OpDef, Param, Props, TypeSet};

/// The row of RandomNormal.
pub const OP: OpDef = OpDef {
    name: "RandomNormal",
    types: &[("T1", TypeSet::ALL), ("T", TypeSet::FLOAT)],
    inputs: &[],
    outputs: &[Param::req("output", "T")],
    attrs: &[
        AttrDef::optional("dtype", AttrKind::Int),
        AttrDef::required("shape", AttrKind::Ints),
        AttrDef::float("mean", 0.0),
        AttrDef::float("scale", 1.0),
        SEED,
    ],
    props: Props::RANDOM,
    infer: infer_shape,
    eval: Some(|cx, _| {
        let (mean, scale) = (cx.float("mean"), cx.float("scale"));
        fill(cx, &shape_of(cx)?, |g| f64::from(mean) + f64::from(scale) * g.normal())
    }),
    ..OpDef::NEW
};
