//! HammingWindow: 25/46 - 21/46 cos(p).

use crate::ops::signal::window_function::{ATTRS, eval, infer};
use crate::{OpDef, Param, TypeSet};

/// The row of HammingWindow.
pub const OP: OpDef = OpDef {
    name: "HammingWindow",
    since: 17,
    types: &[("T1", TypeSet::INDEX), ("T2", TypeSet::NUMERIC)],
    inputs: &[Param::req("size", "T1")],
    outputs: &[Param::req("output", "T2")],
    attrs: &ATTRS,
    infer,
    eval: Some(|cx, inputs| eval(cx, inputs, |p| 25.0 / 46.0 - 21.0 / 46.0 * p.cos())),
    ..OpDef::NEW
};
