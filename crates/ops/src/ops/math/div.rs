//! Div: a / b, broadcast; integers round towards zero, and by zero give 0.

use crate::elementwise::{infer_broadcast, lower_binary};
use crate::{OpDef, known, numeric2, schema};
use planc_kir::BinOp;

/// The row of Div.
pub const OP: OpDef = OpDef {
    name: "Div",
    infer: |cx| {
        infer_broadcast(cx)?;
        known::combine(cx, known::quotient);
        Ok(())
    },
    eval: Some(|cx, inputs| numeric2!(cx, inputs, |x, y| int if y == 0 { 0 } else { x.wrapping_div(y) }, float x / y)),
    lower: |cx| lower_binary(cx, BinOp::Div),
    ..schema::BINARY
};
