//! Relu: max(x, 0). NaN stays NaN.

use crate::elementwise::{float1, infer_same, lower_map, map1, only};
use crate::{OpDef, Param, Props, TypeSet};
use planc_kir::BinOp;

/// The row of Relu.
pub const OP: OpDef = OpDef {
    name: "Relu",
    types: &[("T", TypeSet::FLOAT.or(TypeSet::SIGNED))],
    inputs: &[Param::req("X", "T")],
    outputs: &[Param::req("Y", "T")],
    props: Props::ELEMENTWISE,
    infer: infer_same,
    eval: Some(|_, inputs| {
        let x = only(inputs)?;
        let y = crate::dispatch_int!(x.dtype(), T => map1(x, |v: T| v.max(0)),
            float1(x, |v| if v < 0.0 { 0.0 } else { v }, |v| if v < 0.0 { 0.0 } else { v }));
        Ok(vec![y?])
    }),
    lower: |cx| lower_map(cx, |b, x| Some(b.binary_const(BinOp::Max, x[0], 0.0))),
    ..OpDef::NEW
};
