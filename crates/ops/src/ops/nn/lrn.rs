//! LRN: x / (bias + alpha / size * sum of squares over `size` neighbouring channels) ^ beta.

use crate::elementwise::infer_same;
use crate::floats::{narrow, widen};
use crate::{AttrDef, AttrKind, InferCx, OpDef, OpError, Param, TypeSet, operand};

/// The row of LRN.
pub const OP: OpDef = OpDef {
    name: "LRN",
    types: &[("T", TypeSet::FLOAT)],
    inputs: &[Param::req("X", "T")],
    outputs: &[Param::req("Y", "T")],
    attrs: &[
        AttrDef::float("alpha", 1e-4),
        AttrDef::float("beta", 0.75),
        AttrDef::float("bias", 1.0),
        AttrDef::required("size", AttrKind::Int),
    ],
    infer: |cx: &mut InferCx<'_>| {
        size(cx.int("size"))?;
        if cx.tensor(0)?.rank().is_some_and(|r| r < 2) {
            return Err(OpError::shape("data without channels"));
        }
        infer_same(cx)
    },
    eval: Some(|cx, inputs| {
        let x = operand(inputs, 0)?;
        let [n, c, rest @ ..] = x.shape() else { return Err(OpError::shape("data without channels")) };
        let (c, plane): (usize, usize) = (*c, rest.iter().product());
        let size = size(cx.int("size"))?;
        let (before, after) = ((size - 1) / 2, size / 2);
        let [alpha, beta, bias] = ["alpha", "beta", "bias"].map(|a| f64::from(cx.float(a)));
        let data = widen(x)?;
        let mut y = Vec::with_capacity(data.len());
        for i in 0..n * c {
            let (base, channel) = (i / c * c, i % c);
            let (from, to) = (channel.saturating_sub(before), channel.saturating_add(after).min(c - 1));
            for p in 0..plane {
                let sum: f64 = (from..=to).map(|k| data[(base + k) * plane + p].powi(2)).sum();
                y.push(data[i * plane + p] / (bias + alpha / size as f64 * sum).powf(beta));
            }
        }
        Ok::<_, OpError>(vec![narrow(x.dtype(), x.shape(), y)?])
    }),
    ..OpDef::NEW
};

fn size(n: i64) -> Result<usize, OpError> {
    usize::try_from(n).ok().filter(|n| *n > 0).ok_or_else(|| OpError::attribute(format!("size is {n}")))
}
