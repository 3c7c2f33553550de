//! Relu: max(x, 0). NaN stays NaN.

use crate::elementwise::{lower_map, map_float, map1, only};
use crate::{OpDef, TypeSet, schema};
use planc_kir::BinOp;

/// The row of Relu.
pub const OP: OpDef = OpDef {
    name: "Relu",
    types: &[("T", TypeSet::FLOAT.or(TypeSet::SIGNED))],
    eval: Some(|_, inputs| {
        let x = only(inputs)?;
        let y = crate::dispatch_signed!(x.dtype(), T => map1(x, |v: T| v.max(0)),
            map_float(x, |v| if v < 0.0 { 0.0 } else { v }));
        Ok(vec![y?])
    }),
    lower: |cx| lower_map(cx, |b, x| Some(b.binary_const(BinOp::Max, x[0], 0.0))),
    ..schema::UNARY
};
