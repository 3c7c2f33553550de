//! Layers over codes: convolutions and products of dequantised operands as sums of integers.

use crate::PassCx;
use crate::quantised::{Codes, Params, dequantised, dequantised_constant, onnx};
use crate::rewrite::{kernel, take_over};
use planc_ir::{Graph, NodeBuilder, NodeId, OpName, TensorType, ValueId};
use planc_kir::Kernel;
use planc_tensor::{DType, Layout, Tensor};

/// Sums stay below this, so that adding a bias does not leave 32 bits.
const MOST: i64 = 1 << 30;

/// A layer over dequantised operands.
struct Layer {
    /// The integer operator.
    op: &'static str,
    kernel: Kernel,
    x: ValueId,
    data: Params,
    /// i8 codes in the order that the operator reads.
    weights: Tensor,
    /// One for all channels, or one each.
    zeros: Vec<i64>,
    /// One for all channels, or one each: what a unit of the sums is.
    scales: Vec<f32>,
    channels: usize,
    /// Axes of the result after that of channels.
    trailing: usize,
    bias: Option<ValueId>,
    /// Factor of the bias.
    beta: f32,
}

/// Rewrites a layer whose operands are dequantised; whether it was one.
pub(super) fn fold(g: &mut Graph, id: NodeId, cx: &mut PassCx<'_>) -> bool {
    let n = g.node(id);
    let (Some(x), Some(w), Some(y)) = (n.input(0), n.input(1), n.output(0)) else { return false };
    if n.epilogue().is_some() || !n.op.domain.is_empty() || !matches!(&*n.op.name, "Conv" | "Gemm" | "MatMul") {
        return false;
    }
    let is_real = |v: ValueId| crate::rewrite::producer_op(g, v, "DequantizeLinear").is_some();
    if !is_real(x) && !is_real(w) {
        return false;
    }
    match layer(g, id, (x, w, y), cx) {
        Ok(layer) => {
            rewrite(g, id, y, layer);
            true
        }
        Err(reason) => {
            cx.decline(g, id, reason);
            false
        }
    }
}

fn layer(g: &Graph, id: NodeId, (x, w, y): (ValueId, ValueId, ValueId), cx: &PassCx<'_>) -> Result<Layer, String> {
    let n = g.node(id);
    let (codes, data) = dequantised(g, x).ok_or("its data is not of 8 bits with one constant scale")?;
    let Codes { codes: weights, mut scales, mut zeros, axis } = dequantised_constant(g, w)
        .ok_or("its weights are not constants of 8 bits with a scale for each channel at most")?;
    let (Some((kernel, _)), Some(ty)) = (kernel(g, id), g.tensor_type(y)) else {
        return Err("it has no kernel".into());
    };
    let rank = ty.rank().filter(|_| ty.dtype == DType::F32).ok_or("its result is not of f32 and known rank")?;
    let shape = weights.shape().to_vec();
    let alpha = n.attrs.float("alpha").unwrap_or(1.0);
    let (op, kernel, channel_axis, inner, trailing) = match kernel {
        Kernel::Conv(c) if shape.len() > 2 => {
            ("ConvInteger", Kernel::ConvInteger(c), 0, shape[1..].iter().product(), rank - 2)
        }
        Kernel::Gemm(k) if k.trans_a => return Err("its data is transposed".into()),
        Kernel::Gemm(k) if k.trans_b && shape.len() == 2 => ("MatMulInteger", Kernel::GemmInteger, 0, shape[1], 0),
        Kernel::Gemm(k) if !k.trans_b && shape.len() >= 2 => {
            ("MatMulInteger", Kernel::GemmInteger, shape.len() - 1, shape[shape.len() - 2], 0)
        }
        _ => return Err("it has no kernel over integers".into()),
    };
    if axis.is_some_and(|a| a != channel_axis) {
        return Err("its weights' scales are not per channel of the result".into());
    }
    let channels = shape[channel_axis];
    let mut weights = signed(&weights, &mut zeros).ok_or("its weights are not of 8 bits")?;
    let widest = weights.view().to_i64().unwrap_or_default().into_iter().map(i64::abs).max().unwrap_or(0)
        + zeros.iter().map(|z| z.abs()).max().unwrap_or(0);
    if (inner as i64).saturating_mul(255).saturating_mul(widest) > MOST {
        return Err("its sums may need more than 32 bits".into());
    }
    if op == "MatMulInteger" && channel_axis == 0 {
        weights = transposed(&weights).ok_or("its weights are no matrix")?;
    }
    scales.iter_mut().for_each(|s| *s = data.scale * *s * alpha);
    if all_equal(&scales) {
        scales.truncate(1);
    }
    if all_equal(&zeros) {
        zeros.truncate(1);
    }
    let row_major = |t: DType| Some((t, Layout::RowMajor));
    let w_zero = if zeros == [0] { None } else { row_major(DType::I8) };
    let forms = [row_major(data.dtype), row_major(DType::I8), row_major(data.dtype), w_zero];
    let used = if w_zero.is_some() { 4 } else { 3 };
    if !(cx.options.supports)(&kernel, None, &forms[..used], &[row_major(DType::I32)]) {
        return Err(format!("the backend has no {} of these types", kernel.name()));
    }
    let beta = n.attrs.float("beta").unwrap_or(1.0);
    Ok(Layer { op, kernel, x: codes, data, weights, zeros, scales, channels, trailing, bias: n.input(2), beta })
}

fn all_equal<T: PartialEq>(v: &[T]) -> bool {
    v.windows(2).all(|w| w[0] == w[1]) && !v.is_empty()
}

/// Codes as i8: unsigned ones are shifted together with their zero points.
fn signed(t: &Tensor, zeros: &mut [i64]) -> Option<Tensor> {
    match t.dtype() {
        DType::I8 => Some(t.clone()),
        DType::U8 => {
            zeros.iter_mut().for_each(|z| *z -= 128);
            let shifted = t.view().to_vec::<u8>()?.into_iter().map(|v| (i16::from(v) - 128) as i8).collect();
            Tensor::new(t.shape(), shifted).ok()
        }
        _ => None,
    }
}

/// A matrix of i8 with rows and columns exchanged.
fn transposed(t: &Tensor) -> Option<Tensor> {
    let &[rows, columns] = t.shape() else { return None };
    let v = t.view().to_vec::<i8>()?;
    let turned = (0..columns).flat_map(|c| (0..rows).map(move |r| (r, c))).map(|(r, c)| v[r * columns + c]).collect();
    Tensor::new(vec![columns, rows], turned).ok()
}

fn rewrite(g: &mut Graph, id: NodeId, y: ValueId, l: Layer) {
    let name = g.value(y).name.to_string();
    let ty = g.tensor_type(y).cloned().unwrap_or(TensorType::unranked(DType::F32));
    let sums_ty = TensorType { dtype: DType::I32, ..ty.clone() };
    let node = g.node(id).clone();
    let w_name = node.input(1).map_or(String::new(), |w| g.value(w).name.to_string());
    let per_channel = |n: usize| {
        let mut shape = if n == 1 { vec![] } else { vec![n] };
        shape.resize(shape.len() + if n == 1 { 0 } else { l.trailing }, 1);
        shape
    };
    let weights = g.add_const(&format!("{w_name}.i8"), l.weights.clone());
    let x_zero = g.add_const(&format!("{name}.x_zero"), l.data.scalar(l.data.zero));
    let mut operands = vec![l.x, weights, x_zero];
    if l.zeros != [0] {
        let shape = if l.zeros.len() == 1 { vec![] } else { vec![l.zeros.len()] };
        let zeros = l.zeros.iter().map(|z| *z as i8).collect();
        // As many elements as the shape says: zeros are one, or one per channel.
        if let Ok(t) = Tensor::new(shape, zeros) {
            operands.push(g.add_const(&format!("{name}.w_zero"), t));
        }
    }
    let attrs = if matches!(l.kernel, Kernel::ConvInteger(_)) { node.attrs.clone() } else { Default::default() };
    let conv = NodeBuilder::new(OpName::onnx(l.op)).attrs(attrs).inputs(operands).like(&node);
    let mut sums = g.add_op(conv, &format!("{name}.sums"), sums_ty.clone());
    let whole = l.bias.and_then(|b| integer_bias(g, b, &l));
    if let Some(bias) = whole.clone().and_then(|b| Tensor::new(per_channel(b.len()), b).ok()) {
        let bias = g.add_const(&format!("{name}.bias"), bias);
        let add = onnx(g, id, "Add").inputs([sums, bias]);
        sums = g.add_op(add, &format!("{name}.biased"), sums_ty);
    }
    let cast = onnx(g, id, "Cast").inputs([sums]).attr("to", i64::from(DType::F32.onnx()));
    let real = g.add_op(cast, &format!("{name}.real"), ty.clone());
    let scale = Tensor::new(per_channel(l.scales.len()), l.scales.clone()).unwrap_or(Tensor::scalar(l.scales[0]));
    let scale = g.add_const(&format!("{name}.scale"), scale);
    let scaled = onnx(g, id, "Mul").inputs([real, scale]);
    let mut result = g.add_op(scaled, &format!("{name}.scaled"), ty.clone());
    if let Some(bias) = l.bias.filter(|_| whole.is_none()) {
        let bias = real_bias(g, id, bias, &name, &l);
        let add = onnx(g, id, "Add").inputs([result, bias]);
        result = g.add_op(add, &format!("{name}.shifted"), ty);
    }
    take_over(g, y, result);
}

/// A bias in units of the sums, one element or one per channel, where it is constant and its units are those.
fn integer_bias(g: &Graph, bias: ValueId, l: &Layer) -> Option<Vec<i32>> {
    let c = dequantised_constant(g, bias).filter(|c| c.codes.dtype() == DType::I32 && l.beta == 1.0)?;
    let mut v = c.codes.view().to_vec::<i32>()?;
    let flat = c.codes.shape().iter().rev().skip(1).all(|d| *d == 1) && (v.len() == l.channels || v.len() == 1);
    let at = |s: &[f32], i: usize| s[if s.len() == 1 { 0 } else { i }];
    let near = |i: usize| {
        let (a, b) = (at(&c.scales, i), at(&l.scales, i));
        (a - b).abs() <= b.abs() * 1e-6
    };
    let lists = [c.scales.len(), l.scales.len()].iter().all(|n| *n == 1 || *n == l.channels);
    let small = v.iter().all(|b| i64::from(b.unsigned_abs()) <= MOST);
    let zeros = c.zeros.iter().all(|z| *z == 0);
    if !(flat && lists && small && zeros && (0..l.channels).all(near)) {
        return None;
    }
    if v.len() == 1 && l.channels > 1 {
        v = vec![v[0]; l.channels];
    }
    Some(v)
}

/// The bias of numbers as it is added to the result.
fn real_bias(g: &mut Graph, id: NodeId, bias: ValueId, name: &str, l: &Layer) -> ValueId {
    let mut bias = bias;
    if l.beta != 1.0 {
        let (ty, beta) = (g.value(bias).ty.clone(), g.add_const(&format!("{name}.beta"), Tensor::scalar(l.beta)));
        let scaled = onnx(g, id, "Mul").inputs([bias, beta]);
        bias = g.add_op(scaled, &format!("{name}.addend"), ty);
    }
    if l.trailing > 0 {
        let mut shape = g.tensor_type(bias).and_then(|t| t.shape.clone()).unwrap_or_default();
        shape.resize(shape.len() + l.trailing, 1i64.into());
        let axes = Tensor::vector((1..=l.trailing as i64).collect::<Vec<_>>());
        let axes = g.add_const(&format!("{name}.axes"), axes);
        let along = onnx(g, id, "Unsqueeze").inputs([bias, axes]);
        bias = g.add_op(along, &format!("{name}.addends"), TensorType::new(DType::F32, shape));
    }
    bias
}
