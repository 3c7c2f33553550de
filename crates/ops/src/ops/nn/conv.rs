//! Conv: cross-correlation over any number of spatial axes, in channel groups, plus a bias per output channel.

use crate::convolve::{Plan, infer, lower};
use crate::floats::{narrow, widen, widen_opt};
use crate::{AttrDef, AttrKind, EvalCx, OpDef, OpError, Param, TypeSet, operand};
use planc_tensor::{Tensor, View};

/// The attributes of convolutions.
pub(crate) const ATTRS: [AttrDef; 6] = [
    AttrDef::str("auto_pad", "NOTSET"),
    AttrDef::optional("dilations", AttrKind::Ints),
    AttrDef::int("group", 1),
    AttrDef::optional("kernel_shape", AttrKind::Ints),
    AttrDef::optional("pads", AttrKind::Ints),
    AttrDef::optional("strides", AttrKind::Ints),
];

/// The row of Conv.
pub const OP: OpDef = OpDef {
    name: "Conv",
    types: &[("T", TypeSet::FLOAT)],
    inputs: &[Param::req("X", "T"), Param::req("W", "T"), Param::opt("B", "T")],
    outputs: &[Param::req("Y", "T")],
    attrs: &ATTRS,
    infer: |cx| {
        let dtype = cx.dtype(0)?;
        infer(cx, dtype, 0, 1, 2)
    },
    eval: Some(eval),
    lower,
    ..OpDef::NEW
};

/// Evaluates a convolution of floats.
///
/// # Errors
/// When shapes do not fit.
pub(crate) fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>]) -> Result<Vec<Tensor>, OpError> {
    let (x, w) = (operand(inputs, 0)?, operand(inputs, 1)?);
    let plan = Plan::new(cx.attrs(), x.shape(), w.shape())?;
    cx.reserve(x.dtype(), &plan.shape)?;
    let bias = widen_opt(inputs.get(2).copied().flatten())?;
    if bias.as_ref().is_some_and(|b| b.len() != plan.shape[1]) {
        return Err(OpError::shape("the bias has another length than there are output channels"));
    }
    let init = |m: usize| bias.as_ref().map_or(0.0, |b| b[m]);
    let y = plan.run((&widen(x)?, x.shape()), (&widen(w)?, w.shape()), init)?;
    Ok(vec![narrow(x.dtype(), &plan.shape, y)?])
}
