//! RandomUniform: uniformly distributed numbers.

use crate::ops::random::generator::{SEED, fill, infer_shape, shape_of};
use crate::{AttrDef, AttrKind, OpDef, Param, Props, TypeSet};

/// The row of RandomUniform.
pub const OP: OpDef = OpDef {
    name: "RandomUniform",
    types: &[("T1", TypeSet::ALL), ("T", TypeSet::FLOAT)],
    inputs: &[],
    outputs: &[Param::req("output", "T")],
    attrs: &[
        AttrDef::optional("dtype", AttrKind::Int),
        AttrDef::required("shape", AttrKind::Ints),
        AttrDef::float("high", 1.0),
        AttrDef::float("low", 0.0),
        SEED,
    ],
    props: Props::RANDOM,
    infer: infer_shape,
    eval: Some(|cx, _| {
        let (low, high) = (cx.float("low"), cx.float("high"));
        fill(cx, &shape_of(cx)?, |g| f64::from(low) + (f64::from(high) - f64::from(low)) * g.uniform())
    }),
    ..OpDef::NEW
};
