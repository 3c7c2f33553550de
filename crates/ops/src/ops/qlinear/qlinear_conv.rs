//! QLinearConv: a convolution of quantised data and weights, requantised. Weights may have a scale and a zero point
//! per output channel; the bias is in units of the product of the scales.

use crate::convolve::{self, Plan};
use crate::floats::widen;
use crate::ops::nn::conv;
use crate::ops::nn::conv_integer::less_zero;
use crate::ops::qlinear::requantise::Target;
use crate::ops::qlinear::steps::Steps;
use crate::{EvalCx, OpDef, OpError, Param, TypeSet, operand};
use planc_ir::{Graph, NodeBuilder, NodeId, OpName, ValueId};
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
    decompose: Some(decompose),
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

/// ConvInteger, the bias, the factor that takes its sums to units of the result, rounding.
fn decompose(graph: &mut Graph, id: NodeId) -> Result<Vec<Option<ValueId>>, String> {
    let mut s = Steps::new(graph, id)?;
    let [x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero] = inputs(&s)?;
    let trailing = s.rank(w)?.checked_sub(2).ok_or("the weights have too few axes")?;
    let conv = NodeBuilder::new(OpName::onnx("ConvInteger")).inputs([x, w, x_zero, w_zero]);
    let mut sums = s.full("sums", conv.attrs(s.node.attrs.clone()), DType::I32);
    if let Some(bias) = s.node.input(8) {
        let bias = s.along_channels("bias", bias, trailing)?;
        sums = s.op("biased", "Add", &[sums, bias], DType::I32);
    }
    let product = s.scales("product", "Mul", x_scale, w_scale);
    let factor = s.scales("factor", "Div", product, y_scale);
    let factor = s.along_channels("factors", factor, trailing)?;
    let real = s.real(sums);
    let ratio = s.op("ratio", "Mul", &[real, factor], DType::F32);
    Ok(vec![Some(s.requantise(ratio, y_zero))])
}

/// The first eight operands of either operator: `[x, scale, zero, w, scale, zero, y's scale, zero]`.
///
/// # Errors
/// When one is omitted, or the first or last scale has several elements.
pub(super) fn inputs(s: &Steps<'_>) -> Result<[ValueId; 8], String> {
    let all = [s.input(0)?, s.input(1)?, s.input(2)?, s.input(3)?, s.input(4)?, s.input(5)?, s.input(6)?, s.input(7)?];
    let single = [1, 2, 6, 7].into_iter().all(|i| s.is_single(all[i]));
    if single { Ok(all) } else { Err("a scale or zero point has several elements".into()) }
}
