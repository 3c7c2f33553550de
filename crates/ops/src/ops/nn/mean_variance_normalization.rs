//! MeanVarianceNormalization: (x - mean) / (deviation + 1e-9) over the axes `axes`. An
//! experiment before opset 9, with these axes by default.

use crate::elementwise::walk;
use crate::floats::{narrow, widen};
use crate::{AttrDef, AttrKind, Default, InferCx, OpDef, OpError, Param, TypeSet, Upgrade, normal_axis, operand};
use planc_tensor::contiguous_strides;

/// The row of MeanVarianceNormalization.
pub const OP: OpDef = OpDef {
    name: "MeanVarianceNormalization",
    types: &[("T", TypeSet::FLOAT)],
    inputs: &[Param::req("X", "T")],
    outputs: &[Param::req("Y", "T")],
    attrs: &[
        AttrDef { default: Default::Ints(&[0, 2, 3]), ..AttrDef::optional("axes", AttrKind::Ints) }.since(9),
        AttrDef::int("across_channels", 0).until(9),
        AttrDef::int("normalize_variance", 1).until(9),
    ],
    upgrades: &[Upgrade {
        to: 9,
        step: |cx| {
            let (across, variance) = (cx.attrs.int("across_channels"), cx.attrs.int("normalize_variance"));
            if across.unwrap_or(0) != 0 || variance.unwrap_or(1) == 0 {
                return Err(OpError::unsupported("across_channels, or normalize_variance = 0"));
            }
            cx.attrs.take("across_channels");
            cx.attrs.take("normalize_variance");
            Ok(())
        },
    }],
    infer: |cx: &mut InferCx<'_>| {
        let ty = cx.tensor(0)?.clone();
        if let Some(rank) = ty.rank() {
            cx.ints("axes").unwrap_or_default().iter().try_for_each(|a| normal_axis(*a, rank).map(|_| ()))?;
        }
        cx.set(0, ty);
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let x = operand(inputs, 0)?;
        let mut kept = x.shape().to_vec();
        for a in cx.ints("axes").unwrap_or_default() {
            kept[normal_axis(*a, x.rank())?] = 1;
        }
        let groups: usize = kept.iter().product();
        let own = contiguous_strides(&kept);
        let strides: Vec<usize> =
            kept.iter().zip(x.shape()).zip(own).map(|((k, d), s)| if k == d { s } else { 0 }).collect();
        let mut v = widen(x)?;
        let count = v.len().checked_div(groups).unwrap_or(0).max(1) as f64;
        let (mut mean, mut square, mut at) = (vec![0.0; groups], vec![0.0; groups], 0);
        walk(x.shape(), &strides, &mut |g| {
            mean[g] += v[at] / count;
            square[g] += v[at] * v[at] / count;
            at += 1;
        });
        at = 0;
        walk(x.shape(), &strides, &mut |g| {
            let deviation = (square[g] - mean[g] * mean[g]).max(0.0).sqrt();
            v[at] = (v[at] - mean[g]) / (deviation + 1e-9);
            at += 1;
        });
        Ok::<_, OpError>(vec![narrow(x.dtype(), x.shape(), v)?])
    }),
    ..OpDef::NEW
};
