//! BitShift: x shifted by y bits, zeros filled in; 0 when y is the width or more. Signed numbers shift as their bits
//! to the left and keep their sign to the right.

use crate::elementwise::{infer_broadcast, lower_binary, map2};
use crate::{AttrDef, AttrKind, Lowered, OpDef, OpError, Param, TypeSet, operand, schema};
use planc_kir::BinOp;

/// The row of BitShift.
pub const OP: OpDef = OpDef {
    name: "BitShift",
    since: 11,
    types: &[("T", TypeSet::INT)],
    inputs: &[Param::req("X", "T"), Param::req("Y", "T")],
    outputs: &[Param::req("Z", "T")],
    attrs: &[AttrDef::required("direction", AttrKind::Str)],
    upgrades: &[],
    infer: |cx| match cx.str("direction") {
        "LEFT" | "RIGHT" => infer_broadcast(cx),
        other => Err(OpError::attribute(format!("direction is {other:?}, not LEFT or RIGHT"))),
    },
    eval: Some(|cx, inputs| {
        let (x, y, left) = (operand(inputs, 0)?, operand(inputs, 1)?, cx.str("direction") == "LEFT");
        let z = crate::dispatch_int!(x.dtype(), T => map2(cx, x, y, |x: T, y: T| {
            // A negative count is out of range as much as a large one.
            let count = u32::try_from(i128::from(y)).unwrap_or(u32::MAX);
            let emptied = if left || x >= 0 as T { 0 } else { !0 };
            (if left { x.checked_shl(count) } else { x.checked_shr(count) }).unwrap_or(emptied)
        }), Err(OpError::type_(format!("does not take {}", x.dtype()))));
        Ok(vec![z?])
    }),
    lower: |cx| match (cx.str("direction"), cx.dtype(0)) {
        ("LEFT", _) => lower_binary(cx, BinOp::Shl),
        (_, Ok(t)) if t.is_unsigned() => lower_binary(cx, BinOp::Shr),
        _ => Lowered::Reference,
    },
    ..schema::BINARY
};
