//! Sign: -1, 0 or 1; NaN stays NaN.

use crate::elementwise::{lower_unary, map_float, map1, only};
use crate::{OpDef, Param, TypeSet, schema};
use planc_kir::UnOp;

/// The row of Sign.
pub const OP: OpDef = OpDef {
    name: "Sign",
    since: 9,
    types: &[("T", TypeSet::NUMERIC)],
    inputs: &[Param::req("input", "T")],
    outputs: &[Param::req("output", "T")],
    eval: Some(|_, inputs| {
        let x = only(inputs)?;
        let float = |v: f64| {
            if v > 0.0 {
                1.0
            } else if v < 0.0 {
                -1.0
            } else if v == 0.0 {
                0.0
            } else {
                v
            }
        };
        let one_or_less =
            |x| crate::dispatch_int!(x, T => map1(only(inputs)?, |v: T| v.min(1)), map_float(only(inputs)?, float));
        let y = match x.dtype() {
            t if t.is_unsigned() => one_or_less(t),
            t => crate::dispatch_signed!(t, T => map1(x, T::signum), map_float(x, float)),
        };
        Ok(vec![y?])
    }),
    lower: |cx| lower_unary(cx, UnOp::Sign),
    ..schema::UNARY
};
