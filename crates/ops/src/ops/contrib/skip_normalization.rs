//! com.microsoft.SkipLayerNormalization and SkipSimplifiedLayerNormalization: normalise the last axis of
//! input + skip + bias; the sum is a result too.

use crate::floats::{narrow, widen};
use crate::normalize::{apply, normalize};
use crate::rebuild::Rebuild;
use crate::{AttrDef, EvalCx, InferCx, OpDef, OpError, Param, TypeSet, operand};
use planc_ir::{Graph, NodeId, ValueId};
use planc_tensor::{Attr, DType, Dim, Tensor, View};

const OUTPUTS: &[Param] = &[
    Param::req("output", "T"),
    Param::opt("mean", "U"),
    Param::opt("inv_std_var", "U"),
    Param::opt("input_skip_bias_sum", "T"),
];

/// The row of SkipLayerNormalization.
pub const LAYER: OpDef = OpDef {
    name: "SkipLayerNormalization",
    domain: "com.microsoft",
    types: &[("T", TypeSet::FLOAT), ("U", TypeSet::F32)],
    inputs: &[
        Param::req("input", "T"),
        Param::req("skip", "T"),
        Param::req("gamma", "T"),
        Param::opt("beta", "T"),
        Param::opt("bias", "T"),
    ],
    outputs: OUTPUTS,
    attrs: &[AttrDef::float("epsilon", 1e-12)],
    infer,
    eval: Some(|cx, inputs| eval(cx, inputs, true)),
    decompose: Some(|g, id| decompose(g, id, true)),
    ..OpDef::NEW
};

/// The row of SkipSimplifiedLayerNormalization.
pub const SIMPLIFIED: OpDef = OpDef {
    name: "SkipSimplifiedLayerNormalization",
    domain: "com.microsoft",
    types: &[("T", TypeSet::FLOAT), ("U", TypeSet::F32)],
    inputs: &[Param::req("input", "T"), Param::req("skip", "T"), Param::req("gamma", "T"), Param::opt("bias", "T")],
    outputs: OUTPUTS,
    attrs: &[AttrDef::float("epsilon", 1e-5)],
    infer,
    eval: Some(|cx, inputs| eval(cx, inputs, false)),
    decompose: Some(|g, id| decompose(g, id, false)),
    ..OpDef::NEW
};

fn infer(cx: &mut InferCx<'_>) -> Result<(), OpError> {
    let ty = cx.tensor(0)?.clone();
    if ty.rank() == Some(0) {
        return Err(OpError::shape("a scalar has no axis to normalise"));
    }
    let mut kept = ty.shape.clone();
    if let Some(last) = kept.as_mut().and_then(|s| s.last_mut()) {
        *last = Dim::from(1i64);
    }
    cx.set_shape(1, DType::F32, kept.clone());
    cx.set_shape(2, DType::F32, kept);
    cx.set(3, ty.clone());
    cx.set(0, ty);
    Ok(())
}

fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>], centred: bool) -> Result<Vec<Tensor>, OpError> {
    let x = operand(inputs, 0)?;
    let last = *x.shape().last().ok_or_else(|| OpError::shape("a scalar has no axis to normalise"))?;
    let at = |i: usize| inputs.get(i).copied().flatten();
    let (beta, bias) = if centred { (at(3), at(4)) } else { (None, at(3)) };
    let mut sum = widen(x)?;
    let combine = |v: &mut [f64], p: Option<View<'_>>, f: fn(f64, f64) -> f64| match p {
        Some(p) => apply(v, x.shape(), (&widen(p)?, p.shape()), f),
        None => Ok(()),
    };
    combine(&mut sum, at(1), |a, b| a + b)?;
    combine(&mut sum, bias, |a, b| a + b)?;
    let mut y = sum.clone();
    let moments = normalize(&mut y, last, f64::from(cx.float("epsilon")), centred);
    combine(&mut y, at(2), |a, b| a * b)?;
    combine(&mut y, beta, |a, b| a + b)?;
    let mut kept = x.shape().to_vec();
    kept[x.rank() - 1] = 1;
    let rows: usize = kept.iter().product();
    let statistic = |f: fn(&crate::normalize::Moments) -> f64| {
        let mut v: Vec<f64> = moments.iter().map(f).collect();
        v.resize(rows, f64::NAN);
        narrow(DType::F32, &kept, v)
    };
    let y = narrow(x.dtype(), x.shape(), y)?;
    Ok(vec![y, statistic(|m| m.mean)?, statistic(|m| m.inverse)?, narrow(x.dtype(), x.shape(), sum)?])
}

/// Sums, then LayerNormalization or SimplifiedLayerNormalization. Rounds the sum, where the evaluation rounds once.
fn decompose(graph: &mut Graph, id: NodeId, centred: bool) -> Result<Vec<Option<ValueId>>, String> {
    let mut r = Rebuild::new(graph, id);
    let (beta, bias) = if centred { (r.node.input(3), r.node.input(4)) } else { (None, r.node.input(3)) };
    let statistics = [r.node.output(1), r.node.output(2)].map(|v| v.is_some());
    if statistics[0] && !centred {
        return Err("the mean of a normalisation that does not subtract it".into());
    }
    let mut sum = r.op("Add", &[r.operand(0)?, r.operand(1)?], &[], "sum")?;
    if let Some(bias) = bias {
        sum = r.op("Add", &[sum, bias], &[], "biased")?;
    }
    let epsilon = r.node.attrs.float("epsilon").unwrap_or(if centred { 1e-12 } else { 1e-5 });
    let attrs = [("axis", Attr::Int(-1)), ("epsilon", Attr::Float(epsilon))];
    let (op, operands) = match (centred, beta) {
        (true, Some(_)) => ("LayerNormalization", vec![Some(sum), r.node.input(2), beta]),
        (true, None) => ("LayerNormalization", vec![Some(sum), r.node.input(2)]),
        (false, _) => ("SimplifiedLayerNormalization", vec![Some(sum), r.node.input(2)]),
    };
    let count = if statistics.contains(&true) { 2 + usize::from(centred) } else { 1 };
    let y = r.node(op, &operands, &attrs, ("normalised", count))?;
    let (mean, inverse) = if centred { (y.get(1), y.get(2)) } else { (None, y.get(1)) };
    let sum = r.node.output(3).map(|_| sum);
    Ok(vec![Some(y[0]), mean.copied(), inverse.copied(), sum])
}
