//! BatchNormalization: scale (x - mean) / sqrt(var + epsilon) + bias per channel. In training mode mean and variance
//! are the batch's, and the running ones are updated.

use crate::floats::{narrow, widen};
use crate::{AttrDef, AttrKind, EvalCx, InferCx, OpDef, OpError, Param, TypeSet, Upgrade, UpgradeCx, operand};
use planc_ir::{Graph, NodeBuilder, NodeId, OpName, ValueId};
use planc_tensor::{DType, Dim, Tensor, View};

/// The row of BatchNormalization.
pub const OP: OpDef = OpDef {
    name: "BatchNormalization",
    types: &[("T", TypeSet::FLOAT), ("T1", TypeSet::FLOAT), ("T2", TypeSet::FLOAT)],
    inputs: &[
        Param::req("X", "T"),
        Param::req("scale", "T1"),
        Param::req("B", "T1"),
        Param::req("input_mean", "T2"),
        Param::req("input_var", "T2"),
    ],
    outputs: &[
        Param::req("Y", "T"),
        Param::opt("running_mean", "T2"),
        Param::opt("running_var", "T2"),
        Param::opt("saved_mean", "T2"),
        Param::opt("saved_var", "T2"),
    ],
    attrs: &[
        AttrDef::float("epsilon", 1e-5),
        AttrDef::float("momentum", 0.9),
        AttrDef::int("training_mode", 0).since(14),
        AttrDef::int("spatial", 1).until(9),
        AttrDef::int("is_test", 0).until(7),
        AttrDef::optional("consumed_inputs", AttrKind::Ints).until(6),
    ],
    upgrades: &[Upgrade { to: 9, step: spatial }],
    infer,
    eval: Some(eval),
    decompose: Some(decompose),
    ..OpDef::NEW
};

fn spatial(cx: &mut UpgradeCx<'_>) -> Result<(), OpError> {
    cx.attrs.take("consumed_inputs");
    cx.attrs.take("is_test");
    if cx.attrs.int("spatial") == Some(0) {
        return Err(OpError::unsupported("statistics per position (spatial = 0)"));
    }
    cx.attrs.take("spatial");
    Ok(())
}

fn infer(cx: &mut InferCx<'_>) -> Result<(), OpError> {
    let (x, dtype) = (cx.tensor(0)?.clone(), cx.dtype(3)?);
    let mut channels = x.shape.as_ref().and_then(|s| s.get(1)).cloned();
    if let Some(s) = &x.shape
        && s.is_empty()
    {
        return Err(OpError::shape("a scalar has no channels"));
    }
    // Data of rank 1 is a batch of one channel.
    if x.rank() == Some(1) {
        channels = Some(Dim::from(1i64));
    }
    for i in 1..5 {
        match cx.shape(i)? {
            Some([n]) => match &channels {
                Some(c) => crate::convolve::agree(c, n, "channels and a parameter's length differ")?,
                None => channels = Some(n.clone()),
            },
            Some(s) => return Err(OpError::shape(format!("operand {i} has rank {}, not 1", s.len()))),
            None => {}
        }
    }
    if cx.output_count() > 1 && !cx.flag("training_mode") {
        return Err(OpError::unsupported("results beyond the first need training_mode = 1"));
    }
    if cx.output_count() > 3 {
        return Err(OpError::unsupported("saved statistics are results of old training graphs only"));
    }
    cx.set(0, x);
    for i in 1..3 {
        let n = channels.clone().unwrap_or_else(|| cx.fresh(i, 0));
        cx.set_tensor(i, dtype, vec![n]);
    }
    Ok(())
}

fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>]) -> Result<Vec<Tensor>, OpError> {
    let x = operand(inputs, 0)?;
    let (c, plane) = match x.shape() {
        [] => return Err(OpError::shape("a scalar has no channels")),
        [_] => (1, 1),
        [_, c, rest @ ..] => (*c, rest.iter().product()),
    };
    let mut params = vec![];
    for i in 1..5 {
        let p = widen(operand(inputs, i)?)?;
        if p.len() != c {
            return Err(OpError::shape(format!("operand {i} has {} elements for {c} channels", p.len())));
        }
        params.push(p);
    }
    let [scale, bias, mean, var] = &mut params[..] else { return Err(OpError::arity("parameters are missing")) };
    let mut y = widen(x)?;
    let mut results = vec![];
    if cx.flag("training_mode") {
        let (old_mean, old_var) = (mean.clone(), var.clone());
        let count = y.len().checked_div(c).unwrap_or(0).max(1) as f64;
        (*mean, *var) = (vec![0.0; c], vec![0.0; c]);
        y.chunks(plane.max(1)).enumerate().for_each(|(i, v)| mean[i % c] += v.iter().sum::<f64>());
        mean.iter_mut().for_each(|m| *m /= count);
        let spread = |v: &[f64], m: f64| v.iter().map(|v| (v - m) * (v - m)).sum::<f64>();
        y.chunks(plane.max(1)).enumerate().for_each(|(i, v)| var[i % c] += spread(v, mean[i % c]));
        var.iter_mut().for_each(|v| *v /= count);
        let m = f64::from(cx.float("momentum"));
        let dtype = operand(inputs, 3)?.dtype();
        for (old, new) in [(old_mean, &*mean), (old_var, &*var)] {
            let mixed = old.iter().zip(new).map(|(o, n)| o * m + n * (1.0 - m)).collect();
            results.push(narrow(dtype, &[c], mixed)?);
        }
    }
    let eps = f64::from(cx.float("epsilon"));
    for (i, part) in y.chunks_mut(plane.max(1)).enumerate() {
        let i = i % c;
        let factor = scale[i] / (var[i] + eps).sqrt();
        part.iter_mut().for_each(|v| *v = (*v - mean[i]) * factor + bias[i]);
    }
    results.insert(0, narrow(x.dtype(), x.shape(), y)?);
    Ok(results)
}

/// With constant parameters, `x * a + b` per channel.
fn decompose(graph: &mut Graph, id: NodeId) -> Result<Vec<Option<ValueId>>, String> {
    let node = graph.node(id).clone();
    if node.attrs.int("training_mode").unwrap_or(0) != 0 || node.outputs().len() > 1 {
        return Err("the node is in training mode".into());
    }
    let (Some(x), Some(out)) = (node.input(0), node.output(0)) else { return Err("an operand is missing".into()) };
    let ty = graph.tensor_type(x).cloned().ok_or("the data is not a tensor")?;
    let rank = ty.rank().filter(|r| *r >= 2).ok_or("the data's rank is unknown or below 2")?;
    let mut params = vec![];
    for i in 1..5 {
        let t = node.input(i).and_then(|v| graph.constant(v)).ok_or("a parameter is not constant")?;
        params.push(widen(t.view()).map_err(|e| e.to_string())?);
    }
    let eps = f64::from(node.attrs.float("epsilon").unwrap_or(1e-5));
    let n = params[0].len();
    if params.iter().any(|p| p.len() != n) {
        return Err("the parameters have different lengths".into());
    }
    // Each operation is rounded to the data's type, in the order of onnxruntime: where a quantisation follows, the last
    // bit of a factor decides over steps.
    let r = |v: f64| if ty.dtype == DType::F32 { f64::from(v as f32) } else { v };
    let inverse = |i: usize| r(1.0 / r(r(params[3][i] + eps).sqrt()));
    let a: Vec<f64> = (0..n).map(|i| r(params[0][i] * inverse(i))).collect();
    let b: Vec<f64> = (0..n).map(|i| r(params[1][i] - r(params[2][i] * a[i]))).collect();
    let mut shape = vec![1; rank - 1];
    shape[0] = n;
    let name = graph.value(out).name.to_string();
    let constant = |graph: &mut Graph, tag: &str, v| -> Result<ValueId, String> {
        let t = narrow(ty.dtype, &shape, v).map_err(|e| e.to_string())?;
        Ok(graph.add_const(&format!("{name}.{tag}"), t))
    };
    let (a, b) = (constant(graph, "scale", a)?, constant(graph, "shift", b)?);
    let op = |op, x, y| NodeBuilder::new(OpName::onnx(op)).inputs([x, y]).like(&node);
    let scaled = graph.add_op(op("Mul", x, a), &format!("{name}.scaled"), ty.clone());
    let y = graph.add_op(op("Add", scaled, b), &format!("{name}.shifted"), ty.clone());
    Ok(vec![Some(y)])
}
