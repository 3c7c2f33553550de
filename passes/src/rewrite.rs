//! Edits that several passes make.

use crate::PassCx;
use planc_ir::{Graph, NodeId, Use, ValueId};
use planc_kir::{Expr, Kernel};
use planc_ops::{LowerCx, Lowered, row};
use planc_tensor::{DType, Tensor};

/// Whether a value is an output of its graph.
pub(crate) fn is_output(g: &Graph, v: ValueId) -> bool {
    g.uses(v).iter().any(|u| matches!(u, Use::Output(_)))
}

/// Makes readers of `old` read `new` and removes what only `old` was made for. Not done, and `false`,
/// where an output of the graph would lose its name.
pub(crate) fn replace(g: &mut Graph, old: ValueId, new: ValueId) -> bool {
    if is_output(g, old) && (is_output(g, new) || g.producer(new).is_none()) {
        let Some(t) = g.constant(new).cloned() else { return false };
        g.replace_with_const(old, t);
    } else {
        g.replace_uses(old, new);
    }
    if let Some((node, _)) = g.producer(old) {
        remove_chain(g, node);
    }
    true
}

/// As [`replace`], where `new` was made for this and takes over the name.
pub(crate) fn take_over(g: &mut Graph, old: ValueId, new: ValueId) -> bool {
    if !is_output(g, old) && g.producer(new).is_some() {
        g.swap_names(old, new);
    }
    replace(g, old, new)
}

/// Removes a node none of whose results are read.
pub(crate) fn remove_if_dead(g: &mut Graph, id: NodeId) -> bool {
    let dead = g.contains(id) && g.node(id).outputs().iter().flatten().all(|v| g.uses(*v).is_empty());
    if dead {
        g.remove_node(id);
    }
    dead
}

/// Removes a node none of whose results are read, and then what only it read.
pub(crate) fn remove_chain(g: &mut Graph, id: NodeId) {
    let mut queue = vec![id];
    while let Some(id) = queue.pop() {
        if !g.contains(id) {
            continue;
        }
        let producers: Vec<NodeId> = g.node(id).reads().filter_map(|v| g.producer(v)).map(|(n, _)| n).collect();
        if remove_if_dead(g, id) {
            queue.extend(producers);
        }
    }
}

/// The kernel and its operands as the node lowers; `None` for nodes run by reference or control flow.
pub(crate) fn kernel(g: &Graph, id: NodeId) -> Option<(Kernel, Vec<Option<ValueId>>)> {
    let r = row(&g.node(id).op)?;
    match (r.lower)(&LowerCx::of(g, id)?) {
        Lowered::Kernel { kernel, operands } => Some((kernel, operands.iter().map(|i| g.node(id).input(*i)).collect())),
        Lowered::Reference | Lowered::Control => None,
    }
}

/// The producer of a value if it is operator `op` of ai.onnx without an epilogue.
pub(crate) fn producer_op(g: &Graph, v: ValueId, op: &str) -> Option<NodeId> {
    let (id, 0) = g.producer(v)? else { return None };
    (g.node(id).op.is(op) && g.node(id).epilogue().is_none()).then_some(id)
}

/// The elements of a float tensor.
pub(crate) fn floats(t: &Tensor) -> Option<Vec<f64>> {
    if t.dtype().is_float() { planc_ops::floats::widen(t.view()).ok() } else { None }
}

/// A float tensor of `v`, rounded to `dtype`.
pub(crate) fn from_floats(dtype: DType, shape: &[usize], v: Vec<f64>) -> Option<Tensor> {
    planc_ops::floats::narrow(dtype, shape, v).ok()
}

/// The number that all elements of a constant are.
pub(crate) fn uniform(t: &Tensor) -> Option<f64> {
    let v = match floats(t) {
        Some(v) => v,
        None => t.view().to_i64()?.into_iter().map(|v| v as f64).collect(),
    };
    let first = *v.first()?;
    v.iter().all(|x| x.to_bits() == first.to_bits()).then_some(first)
}

/// The operands of the node of ai.onnx that defines a value, where that is `op` of two operands without an epilogue.
pub(crate) fn binary(g: &Graph, v: ValueId, op: &str) -> Option<(ValueId, ValueId)> {
    let id = producer_op(g, v, op)?;
    Some((g.node(id).input(0)?, g.node(id).input(1)?))
}

/// The number of a constant of one element.
pub(crate) fn scalar(g: &Graph, v: ValueId) -> Option<f64> {
    g.constant(v).filter(|t| t.len() == 1).and_then(uniform)
}

/// Whether the backend has this kernel for operands and a result of these types.
pub(crate) fn supported(
    g: &Graph,
    cx: &PassCx<'_>,
    kernel: &Kernel,
    epilogue: Option<&Expr>,
    operands: &[Option<ValueId>],
    result: ValueId,
) -> bool {
    let form = |v: &Option<ValueId>| v.and_then(|v| g.tensor_type(v)).map(|t| (t.dtype, t.layout));
    let operands: Vec<_> = operands.iter().map(form).collect();
    (cx.options.supports)(kernel, epilogue, &operands, &[form(&Some(result))])
}
