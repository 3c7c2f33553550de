//! What passes share that look at quantised values: codes with their scales and zero points.

use crate::rewrite::producer_op;
use planc_ir::{Graph, NodeBuilder, NodeId, OpName, TensorType, ValueId};
use planc_kir::{Coordinate, Kernel, PoolKind, ResizeMode};
use planc_ops::quantise::Granularity;
use planc_tensor::{DType, Tensor};

/// One scale and zero point for a whole tensor of codes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Params {
    /// What a code more or less is.
    pub scale: f32,
    /// The code of 0.
    pub zero: i64,
    /// Type of the codes.
    pub dtype: DType,
}

impl Params {
    /// The least and the greatest code.
    pub fn range(self) -> (i64, i64) {
        if self.dtype == DType::I8 { (-128, 127) } else { (0, 255) }
    }

    /// The code of a number, as QuantizeLinear gives it.
    pub fn code(self, v: f32) -> i64 {
        let (low, high) = self.range();
        // NaN and infinities saturate as casts do.
        (((v / self.scale).round_ties_even() as i64).saturating_add(self.zero)).clamp(low, high)
    }

    /// The number of a code, as DequantizeLinear gives it.
    pub fn number(self, code: i64) -> f32 {
        (code - self.zero) as f32 * self.scale
    }

    /// A tensor of one code.
    pub fn scalar(self, code: i64) -> Tensor {
        if self.dtype == DType::I8 { Tensor::scalar(code as i8) } else { Tensor::scalar(code as u8) }
    }
}

/// The only element of a constant of integers.
fn single_int(t: &Tensor) -> Option<i64> {
    match t.view().to_i64()?.as_slice() {
        [v] => Some(*v),
        _ => None,
    }
}

/// The only element of an f32 constant.
fn single_f32(t: &Tensor) -> Option<f32> {
    match t.view().to_vec::<f32>()?.as_slice() {
        [v] => Some(*v),
        _ => None,
    }
}

/// Scale and zero point of a QuantizeLinear or DequantizeLinear node that has constants of one element for them, 8-bit
/// codes of type `dtype` and numbers in f32.
pub(crate) fn params(g: &Graph, id: NodeId, dtype: DType) -> Option<Params> {
    let n = g.node(id);
    let scale = g.constant(n.input(1)?).filter(|t| t.dtype() == DType::F32).and_then(single_f32)?;
    let zero = match n.input(2) {
        Some(z) => single_int(g.constant(z)?)?,
        None => 0,
    };
    let blocks = n.attrs.int("block_size").unwrap_or(0) != 0;
    let usable = matches!(dtype, DType::U8 | DType::I8) && scale.is_finite() && scale > 0.0 && !blocks;
    (usable && n.epilogue().is_none()).then_some(Params { scale, zero, dtype })
}

/// The codes whose numbers `v` holds: `v` is a DequantizeLinear of all of them alike, in f32.
pub(crate) fn dequantised(g: &Graph, v: ValueId) -> Option<(ValueId, Params)> {
    let id = producer_op(g, v, "DequantizeLinear")?;
    let codes = g.node(id).input(0)?;
    let f32s = g.tensor_type(v)?.dtype == DType::F32;
    Some((codes, params(g, id, g.tensor_type(codes)?.dtype).filter(|_| f32s)?))
}

/// The numbers whose codes `v` holds: `v` is a QuantizeLinear of all of them alike, in f32.
pub(crate) fn quantised(g: &Graph, v: ValueId) -> Option<(ValueId, Params)> {
    let id = producer_op(g, v, "QuantizeLinear")?;
    let (n, dtype) = (g.node(id), g.tensor_type(v)?.dtype);
    let x = n.input(0)?;
    let plain = g.tensor_type(x)?.dtype == DType::F32 && n.attrs.int("precision").unwrap_or(0) == 0;
    Some((x, params(g, id, dtype).filter(|_| plain)?))
}

/// Constant codes, with one scale and zero point for all or one for each index along an axis.
pub(crate) struct Codes {
    /// The codes.
    pub codes: Tensor,
    /// Scales.
    pub scales: Vec<f32>,
    /// As many zero points.
    pub zeros: Vec<i64>,
    /// The axis, where there are several.
    pub axis: Option<usize>,
}

/// The constant codes whose numbers `v` holds.
pub(crate) fn dequantised_constant(g: &Graph, v: ValueId) -> Option<Codes> {
    let id = producer_op(g, v, "DequantizeLinear")?;
    let n = g.node(id);
    let (codes, scale) = (g.constant(n.input(0)?)?.clone(), g.constant(n.input(1)?)?);
    let (axis, block) = (n.attrs.int("axis").unwrap_or(1), n.attrs.int("block_size").unwrap_or(0));
    let axis = match Granularity::of(codes.shape(), scale.shape(), axis, block).ok()? {
        Granularity::Tensor => None,
        Granularity::Axis(axis) => Some(axis),
        Granularity::Block { .. } => return None,
    };
    let scales = scale.view().to_vec::<f32>().filter(|_| scale.dtype() == DType::F32)?;
    let zeros = match n.input(2) {
        Some(z) => g.constant(z)?.view().to_i64()?,
        None => vec![0; scales.len()],
    };
    let f32s = g.tensor_type(v)?.dtype == DType::F32 && zeros.len() == scales.len();
    f32s.then_some(Codes { codes, scales, zeros, axis })
}

/// Whether a kernel only moves elements (or picks the largest), so that it gives the codes of its result when it is
/// given codes. All operands of `Concat` are data, else the first.
pub(crate) fn moves(kernel: &Kernel) -> bool {
    match kernel {
        Kernel::Reshape | Kernel::Transpose { .. } | Kernel::Slice(_) | Kernel::Concat { .. } => true,
        Kernel::Tile | Kernel::Gather { .. } | Kernel::Pad(_) => true,
        Kernel::Pool(p) => p.kind == PoolKind::Max,
        Kernel::Resize(r) => {
            matches!(r.mode, ResizeMode::Nearest(_)) && r.coordinate != Coordinate::CropAndResize && !r.antialias
        }
        _ => false,
    }
}

/// The operands of a node with kernel `kernel` that are data.
pub(crate) fn data_operands(g: &Graph, id: NodeId, kernel: &Kernel) -> Option<Vec<ValueId>> {
    let n = g.node(id);
    match kernel {
        Kernel::Concat { .. } => n.inputs().iter().copied().collect(),
        _ => Some(vec![n.input(0)?]),
    }
}

/// Scale and zero point as operands, named after `name`.
pub(crate) fn operands(g: &mut Graph, name: &str, p: Params) -> [ValueId; 2] {
    let scale = g.add_const(&format!("{name}.scale"), Tensor::scalar(p.scale));
    [scale, g.add_const(&format!("{name}.zero"), p.scalar(p.zero))]
}

/// The result of a node that makes codes of type `to`, or numbers, of `x`.
pub(crate) fn convert(
    g: &mut Graph,
    b: NodeBuilder,
    x: ValueId,
    [scale, zero]: [ValueId; 2],
    name: &str,
    to: DType,
) -> ValueId {
    let ty = g.tensor_type(x).map_or(TensorType::unranked(to), |t| TensorType { dtype: to, ..t.clone() });
    g.add_op(b.inputs([x, scale, zero]), name, ty)
}

/// A builder of operator `op` of ai.onnx in the place of `node`.
pub(crate) fn onnx(g: &Graph, node: NodeId, op: &str) -> NodeBuilder {
    NodeBuilder::new(OpName::onnx(op)).like(g.node(node))
}
