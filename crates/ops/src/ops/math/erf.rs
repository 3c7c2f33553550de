//! Erf: Gauss error function. Opset 9 has it of integers too, whose results lose their fractions.

use crate::elementwise::{lower_unary, only};
use crate::floats::{narrow, widen};
use crate::{Lowered, OpDef, Param, TypeSet, schema};
use planc_kir::UnOp;

/// The row of Erf.
pub const OP: OpDef = OpDef {
    name: "Erf",
    since: 9,
    inputs: &[Param::req("input", "T")],
    outputs: &[Param::req("output", "T")],
    types: &[("T", TypeSet::NUMERIC)],
    eval: Some(|_, inputs| {
        let x = only(inputs)?;
        Ok(vec![narrow(x.dtype(), x.shape(), widen(x)?.into_iter().map(libm::erf).collect())?])
    }),
    lower: |cx| match cx.dtype(0) {
        Ok(t) if t.is_float() => lower_unary(cx, UnOp::Erf),
        _ => Lowered::Reference,
    },
    ..schema::UNARY
};
