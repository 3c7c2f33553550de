//! SwiGLU: Swish of a gate, times a value of the same shape.

use crate::elementwise::lower_formula;
use crate::floats::{narrow, widen};
use crate::{AttrDef, InferCx, OpDef, OpError, Param, Props, TypeSet, operand};
use planc_kir::{BinOp, UnOp};

/// The row of SwiGLU.
pub const OP: OpDef = OpDef {
    name: "SwiGLU",
    since: 28,
    types: &[("T", TypeSet::FLOAT)],
    inputs: &[Param::req("A", "T"), Param::req("B", "T")],
    outputs: &[Param::req("Y", "T")],
    attrs: &[AttrDef::float("alpha", 1.0)],
    props: Props::ELEMENTWISE,
    infer: |cx: &mut InferCx<'_>| {
        if let (Some(a), Some(b)) = (cx.shape(0)?, cx.shape(1)?) {
            let differ = |(a, b): (&planc_tensor::Dim, _)| a.as_const().zip(b).is_some_and(|(a, b)| a != b);
            if a.len() != b.len() || a.iter().zip(b.iter().map(planc_tensor::Dim::as_const)).any(differ) {
                return Err(OpError::shape("gate and value differ in shape"));
            }
        }
        crate::elementwise::infer_same(cx)
    },
    eval: Some(|cx, inputs| {
        let (a, b) = (operand(inputs, 0)?, operand(inputs, 1)?);
        if a.shape() != b.shape() {
            return Err(OpError::shape(format!("gate {:?} and value {:?} differ in shape", a.shape(), b.shape())));
        }
        let alpha = f64::from(cx.float("alpha"));
        let values = widen(a)?.into_iter().zip(widen(b)?);
        let y = values.map(|(a, b)| a / (1.0 + libm::exp(-alpha * a)) * b).collect();
        Ok(vec![narrow(a.dtype(), a.shape(), y)?])
    }),
    lower: |cx| {
        let alpha = f64::from(cx.float("alpha"));
        lower_formula(cx, |b, x| {
            let [gate, value] = *x else { return None };
            let y = if alpha == 1.0 { gate } else { b.binary_const(BinOp::Mul, gate, alpha) };
            let y = b.unary(UnOp::Sigmoid, y);
            let y = b.binary(BinOp::Mul, gate, y);
            Some(b.binary(BinOp::Mul, y, value))
        })
    },
    ..OpDef::NEW
};
