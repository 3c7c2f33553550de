//! Add: a + b, broadcast; integers wrap.

use crate::elementwise::{infer_broadcast, lower_map};
use crate::ops::math::legacy_broadcast;
use crate::{OpDef, Param, Props, TypeSet, known, numeric2};
use planc_kir::BinOp;

/// The row of Add.
pub const OP: OpDef = OpDef {
    name: "Add",
    types: &[("T", TypeSet::NUMERIC)],
    inputs: &[Param::req("A", "T"), Param::req("B", "T")],
    outputs: &[Param::req("C", "T")],
    attrs: &legacy_broadcast::ATTRS,
    upgrades: &[legacy_broadcast::UPGRADE],
    props: Props::ELEMENTWISE.or(Props::COMMUTATIVE),
    infer: |cx| {
        infer_broadcast(cx)?;
        known::combine(cx, |a, b| Some(a.clone() + b.clone()));
        Ok(())
    },
    eval: Some(|cx, inputs| numeric2!(cx, inputs, |x, y| int x.wrapping_add(y), float x + y)),
    lower: |cx| lower_map(cx, |b, x| Some(b.binary(BinOp::Add, x[0], x[1]))),
    ..OpDef::NEW
};
