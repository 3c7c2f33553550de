//! BlackmanWindow: 0.42 - 0.5 cos(p) + 0.08 cos(2 p).

use crate::ops::signal::window_function::{ATTRS, eval, infer};
use crate::{OpDef, Param, TypeSet};

/// The row of BlackmanWindow.
pub const OP: OpDef = OpDef {
    name: "BlackmanWindow",
    since: 17,
    types: &[("T1", TypeSet::INDEX), ("T2", TypeSet::NUMERIC)],
    inputs: &[Param::req("size", "T1")],
    outputs: &[Param::req("output", "T2")],
    attrs: &ATTRS,
    infer,
    eval: Some(|cx, inputs| eval(cx, inputs, |p| 0.42 - 0.5 * p.cos() + 0.08 * (2.0 * p).cos())),
    ..OpDef::NEW
};
