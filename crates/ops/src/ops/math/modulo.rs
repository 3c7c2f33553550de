//! Mod: the remainder of a / b, broadcast: with the sign of b, or (`fmod = 1`) with that of a. Integers by zero give 0.

use crate::elementwise::{infer_broadcast, lower_binary};
use crate::{AttrDef, OpDef, known, numeric2, schema};
use planc_kir::BinOp;

/// The row of Mod.
pub const OP: OpDef = OpDef {
    name: "Mod",
    since: 10,
    attrs: &[AttrDef::int("fmod", 0)],
    upgrades: &[],
    infer: |cx| {
        infer_broadcast(cx)?;
        let truncates = cx.flag("fmod");
        known::combine(cx, |a, b| known::remainder(a, b).filter(|_| !truncates || known::non_negative(a)));
        Ok(())
    },
    eval: Some(|cx, inputs| match cx.flag("fmod") {
        true => numeric2!(cx, inputs, |x, y| int if y == 0 { 0 } else { x.wrapping_rem(y) }, float x % y),
        false => numeric2!(cx, inputs, |x, y| int {
            let r = if y == 0 { 0 } else { x.wrapping_rem(y) };
            // The remainder has the sign of x: one step towards y where that is another.
            let zero = Default::default();
            if r != zero && (r < zero) != (y < zero) { r.wrapping_add(y) } else { r }
        }, float {
            let r = x % y;
            if r == 0.0 { r.copysign(y) } else if r.is_sign_negative() != y.is_sign_negative() { r + y } else { r }
        }),
    }),
    lower: |cx| lower_binary(cx, if cx.flag("fmod") { BinOp::Rem } else { BinOp::Mod }),
    ..schema::BINARY
};
