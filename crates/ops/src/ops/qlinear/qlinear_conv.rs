//! QLinearConv: a convolution of quantised data and weights, requantised. Weights may have a scale and a zero point
//! per output channel; the bias is in units of the product of the scales.

use crate::convolve::{self, Plan};
use crate::floats::widen;
use crate::ops::nn::conv;
use crate::ops::nn::conv_integer::less_zero;
use crate::ops::qlinear::requantise::Target;
use crate::{EvalCx, OpDef, OpError, Param, TypeSet, operand};
use planc_tensor::{DType, Tensor, View};

/// The row of QLinearConv.
pub const OP: OpDef = OpDef {
    name: "QLinearConv",
    since: 10,
    types: &[
        ("T1", TypeSet::BYTE),
        ("T2", TypeSet::BYTE),
        ("T3", TypeSet::BYTE),
        ("T4", TypeSet::of(&[DType::I32])),
        ("S", TypeSet::F32),
    ],
    inputs: &[
        Param::req("x", "T1"),
        Param::req("x_scale", "S"),
        Param::req("x_zero_point", "T1"),
        Param::req("w", "T2"),
        Param::req("w_scale", "S"),
        Param::req("w_zero_point", "T2"),
        Param::req("y_scale", "S"),
        Param::req("y_zero_point", "T3"),
        Param::opt("B", "T4"),
    ],
    outputs: &[Param::req("y", "T3")],
    attrs: &conv::ATTRS,
    infer: |cx| {
        let dtype = cx.dtype(7)?;
        convolve::infer(cx, dtype, 0, 3, 8)
    },
    eval: Some(eval),
    ..OpDef::NEW
};

fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>]) -> Result<Vec<Tensor>, OpError> {
    let at = |i: usize| operand(inputs, i);
    let (x, w) = (at(0)?, at(3)?);
    let plan = Plan::new(cx.attrs(), x.shape(), w.shape())?;
    let channels = plan.shape[1];
    cx.reserve(DType::I64, &plan.shape)?;
    let bias = inputs.get(8).copied().flatten().and_then(|b| b.to_i64());
    if bias.as_ref().is_some_and(|b| b.len() != channels) {
        return Err(OpError::shape("the bias has another length than there are output channels"));
    }
    let (xs, ws) = (widen(at(1)?)?, widen(at(4)?)?);
    if xs.len() != 1 || (ws.len() != 1 && ws.len() != channels) {
        return Err(OpError::shape(format!("scales of {} and {} elements do not fit", xs.len(), ws.len())));
    }
    let xv = less_zero(x, Some(at(2)?), 0)?;
    let wv = less_zero(w, Some(at(5)?), channels)?;
    let init = |m: usize| bias.as_ref().map_or(0, |b| b[m]);
    let sums = plan.run((&xv, x.shape()), (&wv, w.shape()), init)?;
    let plane: usize = plan.shape[2..].iter().product();
    let factor = |i: usize| xs[0] as f32 * ws[if ws.len() == 1 { 0 } else { i / plane % channels }] as f32;
    let values = sums.into_iter().enumerate().map(|(i, v)| (v, factor(i)));
    Ok(vec![Target::new(at(6)?, at(7)?)?.tensor(&plan.shape, values)?])
}
