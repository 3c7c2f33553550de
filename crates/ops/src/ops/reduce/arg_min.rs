//! ArgMin: the position of the minimum along an axis.

use crate::{OpDef, extremum};

/// The row of ArgMin.
pub const OP: OpDef = OpDef {
    name: "ArgMin",
    eval: Some(|cx, inputs| extremum::eval(cx, inputs, false)),
    lower: |cx| extremum::lower(cx, false),
    ..extremum::ROW
};
