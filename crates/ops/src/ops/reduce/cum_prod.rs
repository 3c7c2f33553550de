//! CumProd: running products along an axis.

use crate::{OpDef, running};

/// The row of CumProd.
pub const OP: OpDef = OpDef {
    name: "CumProd",
    since: 26,
    eval: Some(|cx, inputs| running::eval(cx, inputs, 1, i128::wrapping_mul, |a, v| a * v)),
    ..running::ROW
};
