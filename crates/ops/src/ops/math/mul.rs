//! Mul: a b, broadcast; integers wrap.

use crate::elementwise::{infer_broadcast, lower_binary};
use crate::{OpDef, Props, known, numeric2, schema};
use planc_kir::BinOp;

/// The row of Mul.
pub const OP: OpDef = OpDef {
    name: "Mul",
    props: Props::ELEMENTWISE.or(Props::COMMUTATIVE),
    infer: |cx| {
        infer_broadcast(cx)?;
        known::combine(cx, |a, b| Some(a.clone() * b.clone()));
        Ok(())
    },
    eval: Some(|cx, inputs| numeric2!(cx, inputs, |x, y| int x.wrapping_mul(y), float x * y)),
    lower: |cx| lower_binary(cx, BinOp::Mul),
    ..schema::BINARY
};
