//! Add: a + b, broadcast; integers wrap.

use crate::elementwise::{infer_broadcast, lower_binary};
use crate::{OpDef, Props, known, numeric2, schema};
use planc_kir::BinOp;

/// The row of Add.
pub const OP: OpDef = OpDef {
    name: "Add",
    props: Props::ELEMENTWISE.or(Props::COMMUTATIVE),
    infer: |cx| {
        infer_broadcast(cx)?;
        known::combine(cx, |a, b| Some(a.clone() + b.clone()));
        Ok(())
    },
    eval: Some(|cx, inputs| numeric2!(cx, inputs, |x, y| int x.wrapping_add(y), float x + y)),
    lower: |cx| lower_binary(cx, BinOp::Add),
    ..schema::BINARY
};
