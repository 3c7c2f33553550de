//! ConvInteger: convolution of 8-bit integers less their zero points, in i32. A zero point of the weights may be one
//! per output channel.

use crate::convolve::{self, Plan};
use crate::ops::nn::conv;
use crate::{EvalCx, InferCx, LowerCx, Lowered, OpDef, OpError, Param, TypeSet, operand};
use planc_kir::Kernel;
use planc_tensor::{DType, Tensor, View};

/// The row of ConvInteger.
pub const OP: OpDef = OpDef {
    name: "ConvInteger",
    since: 10,
    types: &[("T1", TypeSet::BYTE), ("T2", TypeSet::BYTE), ("T3", TypeSet::of(&[DType::I32]))],
    inputs: &[
        Param::req("x", "T1"),
        Param::req("w", "T2"),
        Param::opt("x_zero_point", "T1"),
        Param::opt("w_zero_point", "T2"),
    ],
    outputs: &[Param::req("y", "T3")],
    attrs: &conv::ATTRS,
    infer: |cx: &mut InferCx<'_>| convolve::infer(cx, DType::I32, 0, 1, usize::MAX),
    eval: Some(eval),
    lower: |cx: &LowerCx<'_>| match convolve::geometry(cx, 0, 1) {
        Some(conv) => Lowered::kernel(Kernel::ConvInteger(conv), cx.input_count()),
        None => Lowered::Reference,
    },
    ..OpDef::NEW
};

fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>]) -> Result<Vec<Tensor>, OpError> {
    let (x, w) = (operand(inputs, 0)?, operand(inputs, 1)?);
    let plan = Plan::new(cx.attrs(), x.shape(), w.shape())?;
    cx.reserve(DType::I32, &plan.shape)?;
    let xv = less_zero(x, inputs.get(2).copied().flatten(), 0)?;
    let wv = less_zero(w, inputs.get(3).copied().flatten(), w.shape()[0])?;
    let y = plan.run((&xv, x.shape()), (&wv, w.shape()), |_| 0i64)?;
    Ok(vec![Tensor::new(plan.shape, y.into_iter().map(|v| v as i32).collect())?])
}

/// Integers less their zero point: one for all, or one for each of `channels` leading slices.
///
/// # Errors
/// When the zero point has another count.
pub(crate) fn less_zero(x: View<'_>, zero: Option<View<'_>>, channels: usize) -> Result<Vec<i64>, OpError> {
    let mut v = x.to_i64().ok_or_else(|| OpError::type_(format!("does not take {}", x.dtype())))?;
    let zero = zero.and_then(|z| z.to_i64()).unwrap_or_else(|| vec![0]);
    match zero.as_slice() {
        [z] => v.iter_mut().for_each(|v| *v -= z),
        _ if zero.len() == channels && !v.is_empty() => {
            let each = v.len() / channels;
            v.chunks_mut(each).zip(&zero).for_each(|(part, z)| part.iter_mut().for_each(|v| *v -= z));
        }
        _ if v.is_empty() => {}
        _ => return Err(OpError::shape(format!("a zero point of {} elements does not fit", zero.len()))),
    }
    Ok(v)
}
