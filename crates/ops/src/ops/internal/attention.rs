//! planc::Attention: softmax(scale q k' + mask) v over q `[B, H, S, D]`, k `[B, Hk, T, D]`, v `[B, Hk, T, E]`; H is a
//! multiple of Hk. The mask broadcasts to `[B, H, S, T]`.

use crate::floats::{narrow, widen, widen_opt};
use crate::{AttrDef, EvalCx, InferCx, LowerCx, Lowered, OpDef, OpError, Param, TypeSet, operand};
use planc_kir::{Attention, Kernel};
use planc_tensor::{Tensor, View, broadcast, broadcast_strides};

/// The row of planc::Attention.
pub const OP: OpDef = OpDef {
    name: "Attention",
    domain: "planc",
    types: &[("T", TypeSet::FLOAT)],
    inputs: &[Param::req("q", "T"), Param::req("k", "T"), Param::req("v", "T"), Param::opt("mask", "T")],
    outputs: &[Param::req("result", "T")],
    attrs: &[AttrDef::float("scale", 1.0), AttrDef::int("causal", 0)],
    infer,
    eval: Some(eval),
    lower: |cx: &LowerCx<'_>| {
        let kernel = Attention { scale: cx.float("scale"), causal: cx.flag("causal") };
        Lowered::kernel(Kernel::Attention(kernel), cx.input_count())
    },
    ..OpDef::NEW
};

fn infer(cx: &mut InferCx<'_>) -> Result<(), OpError> {
    let dtype = cx.dtype(0)?;
    let four = |i: usize| match cx.shape(i)? {
        Some([b, h, s, d]) => Ok(Some([b.clone(), h.clone(), s.clone(), d.clone()])),
        Some(s) => Err(OpError::shape(format!("operand {i} has rank {}, not 4", s.len()))),
        None => Ok(None),
    };
    let shape = match (four(0)?, four(2)?) {
        (Some([b, h, s, _]), Some([.., e])) => Some(vec![b, h, s, e]),
        _ => None,
    };
    cx.set_shape(0, dtype, shape);
    Ok(())
}

fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>]) -> Result<Vec<Tensor>, OpError> {
    let (q, k, v) = (operand(inputs, 0)?, operand(inputs, 1)?, operand(inputs, 2)?);
    let wrong = || OpError::shape(format!("{:?}, {:?} and {:?} do not fit", q.shape(), k.shape(), v.shape()));
    let ([b, h, s, d], [bk, hk, t, dk], [bv, hv, tv, e]) = (q.shape(), k.shape(), v.shape()) else {
        return Err(wrong());
    };
    let (b, h, s, d, hk, t, e) = (*b, *h, *s, *d, *hk, *t, *e);
    if (*bk, *dk, *bv, *hv, *tv) != (b, d, b, hk, t) || hk == 0 || h % hk != 0 {
        return Err(wrong());
    }
    let shape = [b, h, s, e];
    cx.reserve(q.dtype(), &shape)?;
    let mask = inputs.get(3).copied().flatten();
    let scores_shape = [b, h, s, t];
    let strides = match mask {
        Some(m) if broadcast(m.shape(), &scores_shape).as_deref() == Some(&scores_shape) => {
            broadcast_strides(m.shape(), &scores_shape)
        }
        Some(m) => {
            return Err(OpError::shape(format!("a mask of {:?} does not broadcast to {scores_shape:?}", m.shape())));
        }
        None => vec![0; 4],
    };
    let mask = widen_opt(mask)?;
    let (q, k, v) = (widen(q)?, widen(k)?, (widen(v)?, v.dtype()));
    let scale = f64::from(cx.float("scale"));
    let mut out = vec![0.0; b * h * s * e];
    let mut scores = vec![0.0; t];
    for (row, result) in out.chunks_mut(e.max(1)).enumerate().take(b * h * s) {
        let (i, head, batch) = (row % s, row / s % h, row / s / h);
        let at = (batch * hk + head * hk / h) * t;
        for (j, score) in scores.iter_mut().enumerate() {
            let (x, y) = (&q[row * d..][..d], &k[(at + j) * d..][..d]);
            *score = scale * x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
            if let Some(m) = &mask {
                *score += m[batch * strides[0] + head * strides[1] + i * strides[2] + j * strides[3]];
            }
            if cx.flag("causal") && j + s > i + t {
                *score = f64::NEG_INFINITY;
            }
        }
        let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        scores.iter_mut().for_each(|v| *v = libm::exp(*v - max));
        let sum: f64 = scores.iter().sum();
        for (j, score) in scores.iter().enumerate() {
            let values = &v.0[(at + j) * e..][..e];
            result.iter_mut().zip(values).for_each(|(r, v)| *r += score / sum * v);
        }
    }
    Ok(vec![narrow(v.1, &shape, out)?])
}
