//! CausalConvWithState: a convolution of each channel along time with its own kernel, where a result sees only its own
//! and earlier positions. The last positions are carried over to the next call as state.

use crate::floats::{narrow, widen, widen_opt};
use crate::{AttrDef, EvalCx, InferCx, OpDef, OpError, Param, TypeSet, operand};
use planc_tensor::{DType, Dim, Tensor, View};

/// The row of CausalConvWithState.
pub const OP: OpDef = OpDef {
    name: "CausalConvWithState",
    since: 27,
    types: &[("T", TypeSet::of(&[DType::F32, DType::F16, DType::BF16]))],
    inputs: &[
        Param::req("input", "T"),
        Param::req("weight", "T"),
        Param::opt("bias", "T"),
        Param::opt("past_state", "T"),
    ],
    outputs: &[Param::req("output", "T"), Param::req("present_state", "T")],
    attrs: &[AttrDef::str("activation", "none")],
    infer,
    eval: Some(eval),
    ..OpDef::NEW
};

/// Whether the result goes through SiLU.
fn silu(activation: &str) -> Result<bool, OpError> {
    match activation {
        "none" => Ok(false),
        "silu" | "swish" => Ok(true),
        other => Err(OpError::attribute(format!("activation is {other:?}, not none, silu or swish"))),
    }
}

fn infer(cx: &mut InferCx<'_>) -> Result<(), OpError> {
    silu(cx.str("activation"))?;
    let dtype = cx.dtype(0)?;
    for i in 0..2 {
        if cx.shape(i)?.is_some_and(|s| s.len() != 3) {
            return Err(OpError::shape(format!("operand {i} is not of rank 3")));
        }
    }
    let input = cx.shape(0)?.map(<[Dim]>::to_vec);
    let kernel = cx.shape(1)?.map(|s| s[2].clone());
    if kernel.as_ref().and_then(Dim::as_const).is_some_and(|k| k < 1) {
        return Err(OpError::shape("the kernel is empty"));
    }
    let state = input.as_ref().map(|s| {
        let length = kernel.map_or_else(|| cx.fresh(1, 2), |k| k - Dim::from(1i64));
        vec![s[0].clone(), s[1].clone(), length]
    });
    cx.set_shape(0, dtype, input);
    cx.set_shape(1, dtype, state);
    Ok(())
}

fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>]) -> Result<Vec<Tensor>, OpError> {
    let (x, w) = (operand(inputs, 0)?, operand(inputs, 1)?);
    let silu = silu(cx.str("activation"))?;
    let ([batch, channels, length], [wc, 1, k]) = (x.shape(), w.shape()) else {
        return Err(OpError::shape(format!("{:?} and kernels {:?} do not fit", x.shape(), w.shape())));
    };
    let (batch, channels, length, k) = (*batch, *channels, *length, *k);
    let optional = |i: usize| inputs.get(i).copied().flatten();
    if *wc != channels || k == 0 || optional(2).is_some_and(|b| b.shape() != [channels]) {
        return Err(OpError::shape(format!("kernels or bias do not fit {channels} channels")));
    }
    let kept = k - 1;
    if optional(3).is_some_and(|s| s.shape() != [batch, channels, kept]) {
        return Err(OpError::shape(format!("the state is not {:?}", [batch, channels, kept])));
    }
    let state_shape = [batch, channels, kept];
    cx.reserve(DType::F64, &state_shape)?;
    let (data, weights, bias, past) = (widen(x)?, widen(w)?, widen_opt(optional(2))?, widen_opt(optional(3))?);
    let (mut y, mut present) = (Vec::with_capacity(data.len()), Vec::with_capacity(batch * channels * kept));
    let mut line = Vec::with_capacity(kept + length);
    for row in 0..batch * channels {
        let c = row % channels;
        line.clear();
        match &past {
            Some(p) => line.extend_from_slice(&p[row * kept..][..kept]),
            None => line.resize(kept, 0.0),
        }
        line.extend_from_slice(&data[row * length..][..length]);
        let start = bias.as_ref().map_or(0.0, |b| b[c]);
        let taps = &weights[c * k..][..k];
        y.extend((0..length).map(|t| {
            let v = start + line[t..t + k].iter().zip(taps).map(|(a, b)| a * b).sum::<f64>();
            if silu { v / (1.0 + libm::exp(-v)) } else { v }
        }));
        present.extend_from_slice(&line[length..]);
    }
    Ok(vec![narrow(x.dtype(), x.shape(), y)?, narrow(x.dtype(), &state_shape, present)?])
}
