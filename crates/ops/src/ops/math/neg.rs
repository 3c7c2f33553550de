//! Neg: -x; integers wrap.

use crate::elementwise::{infer_same, lower_unary, map_float, map1, only};
use crate::{OpDef, TypeSet, known, schema};
use planc_kir::UnOp;

/// The row of Neg.
pub const OP: OpDef = OpDef {
    name: "Neg",
    types: &[("T", TypeSet::FLOAT.or(TypeSet::SIGNED))],
    infer: |cx| {
        infer_same(cx)?;
        known::map(cx, |x| Some(-x.clone()));
        Ok(())
    },
    eval: Some(|_, inputs| {
        let x = only(inputs)?;
        let y = crate::dispatch_signed!(x.dtype(), T => map1(x, T::wrapping_neg), map_float(x, |v| -v));
        Ok(vec![y?])
    }),
    lower: |cx| lower_unary(cx, UnOp::Neg),
    ..schema::UNARY
};
