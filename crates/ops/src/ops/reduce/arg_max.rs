//! ArgMax: the position of the maximum along an axis.

use crate::{OpDef, extremum};

/// The row of ArgMax.
pub const OP: OpDef = OpDef {
    name: "ArgMax",
    eval: Some(|cx, inputs| extremum::eval(cx, inputs, true)),
    lower: |cx| extremum::lower(cx, true),
    ..extremum::ROW
};
