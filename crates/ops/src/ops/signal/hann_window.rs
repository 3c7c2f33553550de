//! HannWindow: 1/2 - 1/2 cos(p).

use crate::ops::signal::window_function::{ATTRS, eval, infer};
use crate::{OpDef, Param, TypeSet};

/// The row of HannWindow.
pub const OP: OpDef = OpDef {
    name: "HannWindow",
    since: 17,
    types: &[("T1", TypeSet::INDEX), ("T2", TypeSet::NUMERIC)],
    inputs: &[Param::req("size", "T1")],
    outputs: &[Param::req("output", "T2")],
    attrs: &ATTRS,
    infer,
    eval: Some(|cx, inputs| eval(cx, inputs, |p| 0.5 - 0.5 * p.cos())),
    ..OpDef::NEW
};
