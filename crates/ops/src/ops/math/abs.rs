//! Abs: |x|; the least signed integer wraps to itself.

use crate::elementwise::{infer_same, lower_unary, map_float, map1, only};
use crate::{OpDef, TypeSet, known, schema};
use planc_kir::UnOp;

/// The row of Abs.
pub const OP: OpDef = OpDef {
    name: "Abs",
    types: &[("T", TypeSet::NUMERIC)],
    infer: |cx| {
        infer_same(cx)?;
        known::map(cx, |x| known::non_negative(x).then(|| x.clone()));
        Ok(())
    },
    eval: Some(|_, inputs| {
        let x = only(inputs)?;
        if x.dtype().is_unsigned() {
            return Ok(vec![x.to_tensor()]);
        }
        let y = crate::dispatch_signed!(x.dtype(), T => map1(x, T::wrapping_abs), map_float(x, f64::abs));
        Ok(vec![y?])
    }),
    lower: |cx| lower_unary(cx, UnOp::Abs),
    ..schema::UNARY
};
