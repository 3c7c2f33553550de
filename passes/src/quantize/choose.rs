//! Which layers can be quantised, and which values have to be for that.

use crate::quantised::{data_operands, moves};
use crate::rewrite::{is_output, kernel, producer_op};
use planc_ir::{Graph, NodeId, Use, ValueId};
use planc_kir::Kernel;
use planc_tensor::DType;
use std::collections::{BTreeMap, BTreeSet};

/// A convolution or matrix product that can be quantised.
pub(super) struct Layer {
    pub id: NodeId,
    /// Data.
    pub x: ValueId,
    /// Constant weights.
    pub w: ValueId,
    /// The axis of the weights that the channels of the result lie along.
    pub axis: usize,
}

/// The layer that a node is, or why it is none that can be quantised; `None` for nodes that are no layers.
pub(super) fn layer(g: &Graph, id: NodeId) -> Option<Result<Layer, &'static str>> {
    let n = g.node(id);
    let (kernel, _) = kernel(g, id)?;
    let (x, w) = (n.input(0)?, n.input(1)?);
    if !matches!(kernel, Kernel::Conv(_) | Kernel::Gemm(_) | Kernel::ConvTranspose(_) | Kernel::Rnn(_)) {
        return None;
    }
    Some((|| {
        let real = |v| producer_op(g, v, "DequantizeLinear").is_some();
        if real(x) || real(w) {
            return Err("its operands are quantised already");
        }
        if g.tensor_type(x).is_none_or(|t| t.dtype != DType::F32) {
            return Err("it does not compute in f32");
        }
        if g.constant(x).is_some() {
            return Err("its data is constant");
        }
        let Some(t) = g.constant(w).filter(|t| t.rank() >= 2 && !t.is_empty()) else {
            return Err("its weights are not constant");
        };
        let known = n.op.domain.is_empty() && n.epilogue().is_none();
        let axis = match (&kernel, &*n.op.name) {
            (Kernel::Conv(_), "Conv") if known => 0,
            (Kernel::Gemm(k), "Gemm" | "MatMul") if known && !k.trans_a => {
                if k.trans_b {
                    0
                } else {
                    t.rank() - 1
                }
            }
            (Kernel::Gemm(k), _) if k.trans_a => return Err("its data is transposed"),
            _ => return Err("there is no such kernel over integers"),
        };
        Ok(Layer { id, x, w, axis })
    })())
}

/// Values to be rounded, and which of them should share a scale.
#[derive(Default)]
pub(super) struct Wanted {
    /// The values, each once.
    pub values: Vec<ValueId>,
    /// What is moved, and the result; whether it is moved beside others.
    pub joins: Vec<(ValueId, ValueId, bool)>,
}

/// The values that `layers` read, and from there up what is moved or added to become them. `crosses`: whether codes may
/// be moved by a node.
pub(super) fn wanted(g: &Graph, layers: &[Layer], crosses: &dyn Fn(NodeId) -> bool) -> Wanted {
    let order: BTreeMap<NodeId, usize> = g.order().into_iter().enumerate().map(|(i, id)| (id, i)).collect();
    let quantised: BTreeSet<NodeId> = layers.iter().map(|l| l.id).collect();
    let mut out = Wanted::default();
    let mut seen = BTreeSet::new();
    let mut queue: Vec<ValueId> = layers.iter().rev().map(|l| l.x).collect();
    while let Some(v) = queue.pop() {
        if !is_data(g, v) || !seen.insert(v) {
            continue;
        }
        out.values.push(v);
        if let Some((_, beside, data)) = movement(g, v).filter(|(id, ..)| crosses(*id)) {
            for d in data.into_iter().filter(|d| is_data(g, *d)) {
                out.joins.push((d, v, beside));
                queue.push(d);
            }
        }
        if let Some((a, b)) = addends(g, v) {
            let stored = |o: ValueId| g.uses(o).len() > 1 || movement(g, o).is_some();
            // What is stored as numbers anyway gains nothing from codes beside them.
            let codes_read = |id: &NodeId| {
                quantised.contains(id) || kernel(g, *id).is_some_and(|(k, _)| matches!(k, Kernel::Map(_)) || moves(&k))
            };
            let only_codes =
                |o: ValueId| !is_output(g, o) && g.uses(o).iter().all(|u| matches!(u, Use::Node(id) if codes_read(id)));
            let made = |o: ValueId| layer_before(g, o, &quantised).and_then(|id| order.get(&id).copied());
            queue.extend([a, b].into_iter().filter(|o| stored(*o) && only_codes(*o)));
            // Of two layers whose results meet, the later one adds the earlier one's.
            if let (false, false, Some(i), Some(j)) = (stored(a), stored(b), made(a), made(b)) {
                queue.push(if i < j { a } else { b });
            }
        }
    }
    out
}

/// Whether a value is data in f32.
fn is_data(g: &Graph, v: ValueId) -> bool {
    g.constant(v).is_none() && g.tensor_type(v).is_some_and(|t| t.dtype == DType::F32 && t.shape.is_some())
}

/// The node that moves data to become `v`, whether beside other data, and that data.
fn movement(g: &Graph, v: ValueId) -> Option<(NodeId, bool, Vec<ValueId>)> {
    let (id, 0) = g.producer(v)? else { return None };
    let (k, _) = kernel(g, id).filter(|(k, _)| moves(k))?;
    let single = g.node(id).epilogue().is_none() && g.node(id).outputs().iter().skip(1).all(Option::is_none);
    if !single {
        return None;
    }
    Some((id, matches!(k, Kernel::Concat { .. }), data_operands(g, id, &k)?))
}

/// Elementwise nodes to look through at most.
const DEPTH: usize = 16;

/// The only data that an elementwise node reads.
fn passed(g: &Graph, v: ValueId) -> Option<ValueId> {
    let (id, 0) = g.producer(v)? else { return None };
    let (Kernel::Map(_), _) = kernel(g, id)? else { return None };
    let mut data = g.node(id).inputs().iter().flatten().filter(|v| g.constant(**v).is_none());
    let only = *data.next()?;
    (data.next().is_none() && g.single_user(only).is_some() && !is_output(g, only)).then_some(only)
}

/// The two tensors whose sum, after functions of one operand, `v` is.
fn addends(g: &Graph, v: ValueId) -> Option<(ValueId, ValueId)> {
    let mut v = v;
    for _ in 0..DEPTH {
        if let Some((a, b)) = crate::rewrite::binary(g, v, "Add") {
            let shape = |v: ValueId| g.tensor_type(v).and_then(|t| t.shape.as_ref());
            if is_data(g, a) && is_data(g, b) {
                return (shape(a) == shape(v) && shape(b) == shape(v) && a != b).then_some((a, b));
            }
        }
        v = passed(g, v)?;
    }
    None
}

/// The layer whose result becomes `v` by functions of one operand.
fn layer_before(g: &Graph, v: ValueId, layers: &BTreeSet<NodeId>) -> Option<NodeId> {
    let mut v = v;
    for _ in 0..DEPTH {
        let (id, 0) = g.producer(v)? else { return None };
        if layers.contains(&id) {
            return Some(id);
        }
        v = passed(g, v)?;
    }
    None
}
