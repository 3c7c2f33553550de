//! Sub: a - b, broadcast; integers wrap.

use crate::elementwise::{infer_broadcast, lower_binary};
use crate::{OpDef, known, numeric2, schema};
use planc_kir::BinOp;

/// The row of Sub.
pub const OP: OpDef = OpDef {
    name: "Sub",
    infer: |cx| {
        infer_broadcast(cx)?;
        known::combine(cx, |a, b| Some(a.clone() - b.clone()));
        Ok(())
    },
    eval: Some(|cx, inputs| numeric2!(cx, inputs, |x, y| int x.wrapping_sub(y), float x - y)),
    lower: |cx| lower_binary(cx, BinOp::Sub),
    ..schema::BINARY
};
