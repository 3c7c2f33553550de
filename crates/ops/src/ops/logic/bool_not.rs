//! Not: whether x does not hold.

use crate::elementwise::{infer_same, lower_unary, map1, only};
use crate::{OpDef, TypeSet, known, schema};
use planc_kir::UnOp;
use planc_tensor::Dim;

/// The row of Not.
pub const OP: OpDef = OpDef {
    name: "Not",
    types: &[("T", TypeSet::BOOL)],
    attrs: &[],
    upgrades: &[],
    infer: |cx| {
        infer_same(cx)?;
        known::map(cx, |x| Some(Dim::from(1i64) - x.clone()));
        Ok(())
    },
    eval: Some(|_, inputs| Ok(vec![map1(only(inputs)?, |x: bool| !x)?])),
    lower: |cx| lower_unary(cx, UnOp::Not),
    ..schema::UNARY
};
