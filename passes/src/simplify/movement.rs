//! Rules about nodes that move elements.

use crate::PassCx;
use crate::infer::same;
use crate::rewrite::{is_output, kernel, remove_chain, replace, take_over};
use planc_ir::{Graph, NodeBuilder, NodeId, OpName, TensorType, ValueId};
use planc_kir::Kernel;
use planc_ops::{Props, row};
use planc_tensor::{DType, Dim, Tensor};

/// The permutation of a transposing node and what it transposes.
fn transpose(g: &Graph, id: NodeId) -> Option<(Vec<usize>, ValueId)> {
    match kernel(g, id)? {
        (Kernel::Transpose { perm }, operands) => Some((perm, operands.first().copied().flatten()?)),
        _ => None,
    }
}

fn producer_without_epilogue(g: &Graph, v: ValueId) -> Option<NodeId> {
    let (id, 0) = g.producer(v)? else { return None };
    g.node(id).epilogue().is_none().then_some(id)
}

/// Transpose of a Transpose: one, or none.
pub(super) fn transposes(g: &mut Graph, id: NodeId, _: &mut PassCx<'_>) -> bool {
    let Some((outer, mid)) = transpose(g, id) else { return false };
    let Some((inner, x)) = producer_without_epilogue(g, mid).and_then(|p| transpose(g, p)) else { return false };
    let Some(y) = g.node(id).output(0) else { return false };
    let perm: Option<Vec<usize>> = outer.iter().map(|a| inner.get(*a).copied()).collect();
    let Some(perm) = perm else { return false };
    if perm.iter().enumerate().all(|(i, a)| i == *a) && same(&g.value(x).ty, &g.value(y).ty) && replace(g, y, x) {
        return true;
    }
    let perm: Vec<i64> = perm.into_iter().map(|a| a as i64).collect();
    g.edit_node(id, |e| {
        e.inputs()[0] = Some(x);
        e.attrs().set("perm", perm);
    });
    if let Some((p, _)) = g.producer(mid) {
        remove_chain(g, p);
    }
    true
}

/// A MatMul by the transpose of a constant that is too large to fold reads the constant itself, which the backend packs
/// whichever way it lies.
pub(super) fn transposed_weights(g: &mut Graph, id: NodeId, _: &mut PassCx<'_>) -> bool {
    let n = g.node(id);
    let (true, Some(b)) = (n.op.is("MatMul"), n.input(1)) else { return false };
    let Some((perm, w)) = producer_without_epilogue(g, b).and_then(|p| transpose(g, p)) else { return false };
    let matrix = g.constant(w).is_some_and(|t| t.rank() == 2 && t.dtype() == DType::F32);
    let rows = g.tensor_type(n.input(0).unwrap_or(w)).and_then(TensorType::rank).is_some_and(|r| r >= 2);
    if perm != [1, 0] || !matrix || !rows {
        return false;
    }
    g.edit_node(id, |e| {
        e.set_op(OpName::new("com.microsoft", "FusedMatMul"));
        e.inputs()[1] = Some(w);
        e.attrs().set("transB", 1i64);
    });
    if let Some((p, _)) = g.producer(b) {
        remove_chain(g, p);
    }
    true
}

/// The operand of `Reshape` that gives these extents: one of them may be symbolic. `None` where a 0 would copy one.
fn target(shape: &[Dim]) -> Option<Tensor> {
    let symbolic = shape.iter().filter(|d| d.as_const().is_none()).count();
    if symbolic > 1 || shape.iter().any(|d| d.as_const() == Some(0)) {
        return None;
    }
    Some(Tensor::vector(shape.iter().map(|d| d.as_const().unwrap_or(-1)).collect::<Vec<i64>>()))
}

/// A Transpose that moves only extents of 1 keeps the order of elements.
pub(super) fn transpose_is_reshape(g: &mut Graph, id: NodeId, _: &mut PassCx<'_>) -> bool {
    let Some((perm, x)) = transpose(g, id) else { return false };
    let Some(y) = g.node(id).output(0) else { return false };
    let shape = |v: ValueId| g.tensor_type(v).and_then(|t| t.shape.clone());
    let (Some(from), Some(to)) = (shape(x), shape(y)) else { return false };
    let wide: Vec<usize> = perm.into_iter().filter(|a| from.get(*a).and_then(Dim::as_const) != Some(1)).collect();
    if !wide.is_sorted() {
        return false;
    }
    let Some(t) = target(&to) else { return false };
    let to = g.add_const(&format!("{}.shape", g.value(y).name), t);
    g.edit_node(id, |e| {
        e.set_op(OpName::onnx("Reshape"));
        *e.inputs() = vec![Some(x), Some(to)];
        e.attrs().take("perm");
    });
    true
}

/// Whether the node only gives the elements of operand 0 another shape.
fn reshapes_only(g: &Graph, id: NodeId) -> bool {
    let n = g.node(id);
    row(&n.op).is_some_and(|r| r.props.has(Props::RESHAPES)) && n.outputs().iter().skip(1).all(Option::is_none)
}

/// Of nodes that only reshape one after the other, only the last counts.
pub(super) fn reshapes(g: &mut Graph, id: NodeId, _: &mut PassCx<'_>) -> bool {
    let (Some(mid), Some(y)) = (g.node(id).input(0), g.node(id).output(0)) else { return false };
    let Some(before) = producer_without_epilogue(g, mid).filter(|p| reshapes_only(g, *p)) else { return false };
    let Some(x) = g.node(before).input(0).filter(|_| reshapes_only(g, id)) else { return false };
    let (Some(tx), Some(ty)) = (g.tensor_type(x).cloned(), g.tensor_type(y).cloned()) else { return false };
    let Some(shape) = ty.shape.filter(|_| tx.shape.is_some() && tx.dtype == ty.dtype) else { return false };
    // A Reshape whose operand has no zeros reads nothing of the shape it is given.
    let free = g.node(id).op.is("Reshape")
        && g.node(id)
            .input(1)
            .and_then(|v| g.constant(v))
            .and_then(|t| t.view().to_i64())
            .is_some_and(|t| !t.contains(&0));
    if free {
        g.edit_node(id, |e| e.inputs()[0] = Some(x));
    } else {
        let Some(t) = target(&shape) else { return false };
        let to = g.add_const(&format!("{}.shape", g.value(y).name), t);
        g.edit_node(id, |e| {
            e.set_op(OpName::onnx("Reshape"));
            *e.inputs() = vec![Some(x), Some(to)];
            *e.attrs() = planc_ir::Attrs::new();
        });
    }
    remove_chain(g, before);
    true
}

/// A slice that lies within one operand of a Concat is a slice of that operand.
pub(super) fn slice_of_concat(g: &mut Graph, id: NodeId, _: &mut PassCx<'_>) -> bool {
    let Some((Kernel::Slice(slice), operands)) = kernel(g, id) else { return false };
    let (Some(joined), Some(y)) = (operands.first().copied().flatten(), g.node(id).output(0)) else { return false };
    let Some(concat) = producer_without_epilogue(g, joined) else { return false };
    let Some((Kernel::Concat { axis }, parts)) = kernel(g, concat) else { return false };
    let extent = |v: ValueId| g.tensor_type(v)?.shape.as_ref()?.get(axis)?.as_const();
    let starts: Option<Vec<i64>> = slice.starts.iter().map(Dim::as_const).collect();
    let shape = g.tensor_type(y).and_then(|t| t.shape.clone());
    let (Some(mut starts), Some(shape), true) = (starts, shape, slice.steps.iter().all(|s| *s == 1)) else {
        return false;
    };
    let (Some(start), Some(len)) = (starts.get(axis).copied(), shape.get(axis).and_then(Dim::as_const)) else {
        return false;
    };
    let mut at = 0;
    let mut found = None;
    for part in parts.into_iter().flatten() {
        let Some(n) = extent(part) else { return false };
        if at <= start && start + len <= at + n && len > 0 {
            found = Some((part, start - at));
            break;
        }
        at += n;
    }
    let Some((part, start)) = found else { return false };
    starts[axis] = start;
    // Other axes that the slice leaves whole need no bounds; those it cuts must have a constant extent.
    let ty = g.tensor_type(part).cloned();
    let Some(extents) = ty.and_then(|t| t.shape) else { return false };
    let cut: Vec<usize> = (0..shape.len()).filter(|i| starts[*i] != 0 || shape[*i] != extents[*i]).collect();
    let ends: Option<Vec<i64>> = cut.iter().map(|i| Some(starts[*i] + shape[*i].as_const()?)).collect();
    let Some(ends) = ends else { return false };
    if is_output(g, y) && cut.is_empty() {
        return false;
    }
    if cut.is_empty() {
        replace(g, y, part);
    } else {
        let name = g.value(y).name.to_string();
        let mut vector = |tag: &str, v: Vec<i64>| g.add_const(&format!("{name}.{tag}"), Tensor::vector(v));
        let starts = vector("starts", cut.iter().map(|i| starts[*i]).collect());
        let (ends, axes) = (vector("ends", ends), vector("axes", cut.iter().map(|i| *i as i64).collect()));
        let b = NodeBuilder::new(OpName::onnx("Slice")).inputs([part, starts, ends, axes]).like(&g.node(id).clone());
        let ty = g.tensor_type(y).cloned().unwrap_or_else(|| TensorType::unranked(DType::F32));
        let made = g.add_op(b, &format!("{name}.part"), ty);
        take_over(g, y, made);
    }
    remove_chain(g, concat);
    true
}
