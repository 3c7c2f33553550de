//! BiasGelu (com.microsoft): Gelu of A + B, where B is one number per index of the last axis.

use super::gelu;
use crate::elementwise::{infer_broadcast, lower_formula, map_float};
use crate::{OpDef, Param, Props, TypeSet, numeric2, operand};
use planc_kir::BinOp;
use planc_tensor::Tensor;

/// The row of BiasGelu.
pub const OP: OpDef = OpDef {
    name: "BiasGelu",
    domain: "com.microsoft",
    types: &[("T", TypeSet::FLOAT)],
    inputs: &[Param::req("A", "T"), Param::req("B", "T")],
    outputs: &[Param::req("C", "T")],
    props: Props::ELEMENTWISE,
    infer: infer_broadcast,
    eval: Some(|cx, inputs| {
        operand(inputs, 1)?;
        let sum: Result<Vec<Tensor>, crate::OpError> = numeric2!(cx, inputs, |x, y| int x.wrapping_add(y), float x + y);
        sum?.iter().map(|s| map_float(s.view(), gelu::value)).collect()
    }),
    lower: |cx| {
        lower_formula(cx, |b, x| {
            let [x, bias] = *x else { return None };
            let x = b.binary(BinOp::Add, x, bias);
            Some(gelu::formula(b, x))
        })
    },
    ..OpDef::NEW
};
