//! BitwiseNot: every bit inverted.

use crate::elementwise::{lower_unary, map1, only};
use crate::{OpDef, OpError, TypeSet, schema};
use planc_kir::UnOp;

/// The row of BitwiseNot.
pub const OP: OpDef = OpDef {
    name: "BitwiseNot",
    since: 18,
    types: &[("T", TypeSet::INT)],
    attrs: &[],
    upgrades: &[],
    eval: Some(|_, inputs| {
        let x = only(inputs)?;
        let y = crate::dispatch_int!(x.dtype(), T => map1(x, |v: T| !v),
            Err(OpError::type_(format!("does not take {}", x.dtype()))));
        Ok(vec![y?])
    }),
    lower: |cx| lower_unary(cx, UnOp::Not),
    ..schema::UNARY
};
