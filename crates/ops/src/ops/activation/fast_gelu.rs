//! FastGelu (com.microsoft): Gelu by tanh of X + bias, where the bias is one number per index of the last axis.

use super::gelu;
use crate::elementwise::{infer_broadcast, lower_formula, map_float, only};
use crate::{OpDef, Param, Props, TypeSet, numeric2};
use planc_kir::BinOp;
use planc_tensor::Tensor;

/// The row of FastGelu.
pub const OP: OpDef = OpDef {
    name: "FastGelu",
    domain: "com.microsoft",
    types: &[("T", TypeSet::FLOAT)],
    inputs: &[Param::req("X", "T"), Param::opt("bias", "T")],
    outputs: &[Param::req("Y", "T")],
    props: Props::ELEMENTWISE,
    infer: infer_broadcast,
    eval: Some(|cx, inputs| {
        let sum: Result<Vec<Tensor>, crate::OpError> = match inputs.get(1).copied().flatten() {
            Some(_) => numeric2!(cx, inputs, |x, y| int x.wrapping_add(y), float x + y),
            None => Ok(vec![only(inputs)?.to_tensor()]),
        };
        sum?.iter().map(|s| map_float(s.view(), gelu::tanh_value)).collect()
    }),
    lower: |cx| {
        lower_formula(cx, |b, x| {
            let x = crate::elementwise::fold(b, BinOp::Add, x)?;
            Some(gelu::tanh_formula(b, x))
        })
    },
    ..OpDef::NEW
};
