//! STFT: discrete Fourier transforms of windowed frames of a signal.

use crate::floats::{narrow, widen, widen_opt};
use crate::ops::signal::dft::{MAX_MATRIX, known_scalar, length, scalar};
use crate::ops::signal::fourier::{Complex, matrix, transform};
use crate::{AttrDef, EvalCx, InferCx, OpDef, OpError, Param, TypeSet, operand};
use planc_ir::{Graph, NodeBuilder, NodeId, OpName, TensorType, ValueId};
use planc_tensor::{Dim, Tensor, View};

/// The row of STFT.
pub const OP: OpDef = OpDef {
    name: "STFT",
    since: 17,
    types: &[("T1", TypeSet::FLOAT), ("T2", TypeSet::INDEX)],
    inputs: &[
        Param::req("signal", "T1"),
        Param::req("frame_step", "T2"),
        Param::opt("window", "T1"),
        Param::opt("frame_length", "T2"),
    ],
    outputs: &[Param::req("output", "T1")],
    attrs: &[AttrDef::int("onesided", 1)],
    infer,
    eval: Some(eval),
    decompose: Some(decompose),
    ..OpDef::NEW
};

fn infer(cx: &mut InferCx<'_>) -> Result<(), OpError> {
    let dtype = cx.dtype(0)?;
    let signal = cx.shape(0)?;
    let (batch, extent) = match signal {
        // Real signals come without the last axis too.
        Some([b, l] | [b, l, _]) => (b.clone(), Some(l.clone())),
        Some(s) => return Err(OpError::shape(format!("the signal has rank {}, not 3", s.len()))),
        None => (cx.fresh(0, 0), None),
    };
    if let Some([_, _, parts]) = signal {
        let parts = parts.as_const();
        if parts.is_some_and(|p| p != 1 && p != 2) || (parts == Some(2) && cx.flag("onesided")) {
            return Err(OpError::shape("the signal's last extent does not fit a transform of this kind"));
        }
    }
    let (one, two) = (Dim::from(1i64), Dim::from(2i64));
    let window = if cx.has(2) { cx.shape(2)?.and_then(|s| s.first().cloned()) } else { None };
    let frame = if cx.has(3) {
        known_scalar(cx, 3)
    } else if cx.has(2) {
        window.clone()
    } else {
        extent.clone()
    };
    let step = known_scalar(cx, 1);
    for (what, d) in [("frame_step", &step), ("frame_length", &frame)] {
        d.as_ref().and_then(Dim::as_const).map(|n| length(n, what)).transpose()?;
    }
    if let (Some(w), Some(f)) = (&window, &frame) {
        crate::convolve::agree(w, f, "window and frame differ in length")?;
    }
    let frames = match (&extent, &frame, &step) {
        (Some(l), Some(f), Some(s)) => (l.clone() - f.clone()).floor_div(s) + one.clone(),
        _ => cx.fresh(0, 1),
    };
    if frames.as_const().is_some_and(|f| f < 1) {
        return Err(OpError::shape("the signal is shorter than a frame"));
    }
    let bins = match frame {
        Some(f) if cx.flag("onesided") => f.floor_div(&two) + one,
        Some(f) => f,
        None => cx.fresh(0, 2),
    };
    cx.set_tensor(0, dtype, vec![batch, frames, bins, two]);
    Ok(())
}

fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>]) -> Result<Vec<Tensor>, OpError> {
    let x = operand(inputs, 0)?;
    let at = |i: usize| inputs.get(i).copied().flatten();
    let (batch, extent, parts) = match x.shape() {
        [b, l] => (*b, *l, 1),
        [b, l, p @ (1 | 2)] => (*b, *l, *p),
        s => return Err(OpError::shape(format!("{s:?} is no shape of a signal"))),
    };
    let step = length(scalar(operand(inputs, 1)?, "frame_step")?, "frame_step")?;
    let window = widen_opt(at(2))?;
    let frame = match (at(3), &window) {
        (Some(n), _) => scalar(n, "frame_length")?,
        (None, Some(w)) => w.len() as i64,
        (None, None) => extent as i64,
    };
    let frame = length(frame, "frame_length")?;
    if window.as_ref().is_some_and(|w| w.len() != frame) || frame > extent {
        return Err(OpError::shape(format!("frames of {frame} fit neither window nor signal")));
    }
    let (frames, onesided) = ((extent - frame) / step + 1, cx.flag("onesided"));
    let bins = if onesided { frame / 2 + 1 } else { frame };
    let shape = [batch, frames, bins, 2];
    let mut out = Vec::with_capacity(cx.reserve(x.dtype(), &shape)?);
    let data = widen(x)?;
    for b in 0..batch {
        for f in 0..frames {
            let sample = |i: usize| {
                let at = (b * extent + f * step + i) * parts;
                let v = Complex::new(data[at], if parts == 2 { data[at + 1] } else { 0.0 });
                v * window.as_ref().map_or(1.0, |w| w[i])
            };
            let line: Vec<Complex> = (0..frame).map(sample).collect();
            out.extend(transform(&line, false).iter().take(bins).flat_map(|y| [y.re, y.im]));
        }
    }
    Ok(vec![narrow(x.dtype(), &shape, out)?])
}

/// The transform of a real signal is a convolution whose kernels are windowed waves, one step a frame.
fn decompose(graph: &mut Graph, id: NodeId) -> Result<Vec<Option<ValueId>>, String> {
    let node = graph.node(id).clone();
    let (Some(x), Some(out)) = (node.input(0), node.output(0)) else { return Err("an operand is missing".into()) };
    let ty = graph.tensor_type(x).cloned().ok_or("the signal is not a tensor")?;
    let (batch, extent) = match ty.shape.as_deref() {
        Some([b, l]) => (b.clone(), l.clone()),
        Some([b, l, p]) if p.as_const() == Some(1) => (b.clone(), l.clone()),
        _ => return Err("the signal is not known to be real".into()),
    };
    let constant = |i: usize| node.input(i).map(|v| graph.constant(v).ok_or("an operand is not constant")).transpose();
    let number = |t: &Tensor, what| scalar(t.view(), what).and_then(|n| length(n, what)).map_err(|e| e.to_string());
    let step = number(constant(1)?.ok_or("the step is missing")?, "frame_step")?;
    let window = widen_opt(constant(2)?.map(Tensor::view)).map_err(|e| e.to_string())?;
    let frame = match (constant(3)?, &window) {
        (Some(n), _) => number(n, "frame_length")?,
        (None, Some(w)) => w.len(),
        (None, None) => extent.as_usize().ok_or("the frame's length is not constant")?,
    };
    if frame == 0 || window.as_ref().is_some_and(|w| w.len() != frame) {
        return Err("window and frame differ in length".into());
    }
    let bins = if node.attrs.int("onesided").unwrap_or(1) != 0 { frame / 2 + 1 } else { frame };
    if frame.saturating_mul(bins) > MAX_MATRIX {
        return Err("the transform's kernels are too large".into());
    }
    let waves = matrix(frame, frame, bins, |i| window.as_ref().map_or(1.0, |w| w[i]));
    let kernels = (0..bins * 2).flat_map(|k| (0..frame).map(move |i| i * bins * 2 + k)).map(|at| waves[at]).collect();
    let kernels = narrow(ty.dtype, &[bins * 2, 1, frame], kernels).map_err(|e| e.to_string())?;
    let name = graph.value(out).name.to_string();
    let kernels = graph.add_const(&format!("{name}.waves"), kernels);
    let constant =
        |graph: &mut Graph, tag: &str, v: Vec<i64>| graph.add_const(&format!("{name}.{tag}"), Tensor::vector(v));
    let op =
        |op: &str, inputs: &[ValueId]| NodeBuilder::new(OpName::onnx(op)).inputs(inputs.iter().copied()).like(&node);
    let of = |dims: &[&Dim]| TensorType::new(ty.dtype, dims.iter().map(|d| (*d).clone()).collect());
    let (one, two) = (Dim::from(1i64), Dim::from(2i64));
    let frames = (extent.clone() - Dim::from(frame)).floor_div(&Dim::from(step)) + one.clone();
    let (channels, bins_dim) = (Dim::from(bins * 2), Dim::from(bins));
    let wanted = constant(graph, "rows", vec![0, 1, -1]);
    let rows = graph.add_op(op("Reshape", &[x, wanted]), &format!("{name}.signal"), of(&[&batch, &one, &extent]));
    let conv = op("Conv", &[rows, kernels]).attr("strides", vec![step as i64]);
    let spectrum = graph.add_op(conv, &format!("{name}.spectrum"), of(&[&batch, &channels, &frames]));
    let turn = op("Transpose", &[spectrum]).attr("perm", vec![0i64, 2, 1]);
    let turned = graph.add_op(turn, &format!("{name}.frames"), of(&[&batch, &frames, &channels]));
    let wanted = constant(graph, "shape", vec![0, 0, bins as i64, 2]);
    let dims = of(&[&batch, &frames, &bins_dim, &two]);
    let y = graph.add_op(op("Reshape", &[turned, wanted]), &format!("{name}.bins"), dims);
    Ok(vec![Some(y)])
}
