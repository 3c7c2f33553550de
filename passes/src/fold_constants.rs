//! Evaluates what depends on constants only, also shapes that inference knows, and takes the branch of an If that is
//! known.
//!
//! Nodes whose operands are constants become constants through the operator's reference evaluation; so do integer
//! vectors all of whose elements inference knows, which is how shape subgraphs disappear although the data they look at
//! is not constant. Inference runs again on the way, so that one pass folds whole chains. What is captured by a subgraph
//! and constant is a constant of the subgraph. Nodes that draw random numbers stay, and DequantizeLinear until
//! `fold-quantization` has seen it. Declined: results much larger than
//! their operands or beyond the memory budget, products that would take long, evaluations that fail (the error belongs
//! to the run that reaches them, which may be none).
//!
//! ```ir
//! // before
//! graph @g (format 1) {
//!   in %x: f32[N,2,3]
//!   const %one: i64[1] = [1]
//!   const %minus: i64[1] = [-1]
//!   %shape: i64[2] = Shape(%x) {start=1}
//!   %more: i64[2] = Add(%shape, %one)
//!   %to: i64[3] = Concat(%minus, %shape) {axis=0}
//!   %flat: f32[N,2,3] = Reshape(%x, %to)
//!   out %flat
//!   out %more
//! }
//! // after
//! graph @g (format 1) {
//!   in %x: f32[N,2,3]
//!   const %to: i64[3] = [-1, 2, 3]
//!   const %more: i64[2] = [3, 4]
//!   %flat: f32[N,2,3] = Reshape(%x, %to)
//!   out %flat
//!   out %more
//! }
//! ```

use crate::inline::inline;
use crate::rewrite::{kernel, replace};
use crate::{PassCx, PassError};
use planc_ir::{Capture, Graph, NodeId, TensorType, ValueId};
use planc_kir::Kernel;
use planc_ops::{EvalCx, Props, row};
use planc_tensor::{DType, Tensor, View};
use std::collections::HashSet;

/// The bytes that results may have: wider elements (i8 to f32) and a little more than the operands.
fn allowed(operands: usize) -> usize {
    operands.saturating_mul(4).saturating_add(1 << 20)
}

/// Multiplications that are evaluated at most: a second or so.
const WORK: usize = 1 << 30;

/// Runs the pass.
///
/// # Errors
/// When a node turns out to be wrong with what became known.
pub(crate) fn run(g: &mut Graph, cx: &mut PassCx<'_>) -> Result<usize, PassError> {
    let mut changes = 0;
    let mut changed: HashSet<ValueId> = HashSet::new();
    for id in g.order() {
        if g.node(id).reads().any(|v| changed.contains(&v)) && cx.infer(g, id)? {
            changed.extend(g.node(id).outputs().iter().flatten());
        }
        let outputs = g.node(id).outputs().to_vec();
        if let Some(results) = constant_results(g, id, cx) {
            for (old, t) in outputs.iter().zip(results) {
                if let (Some(old), Some(t)) = (old, t) {
                    changed.insert(g.replace_with_const(*old, t));
                }
            }
            crate::rewrite::remove_if_dead(g, id);
            changes += 1;
        } else if take_branch(g, id, cx) {
            changes += 1;
        } else {
            changes += capture_constants(g, id);
        }
    }
    Ok(changes + cx.subgraphs(g, run)?)
}

/// What the results of a node are, where that is known; `None` if no result is.
pub(crate) fn constant_results(g: &Graph, id: NodeId, cx: &mut PassCx<'_>) -> Option<Vec<Option<Tensor>>> {
    let n = g.node(id);
    let r = row(&n.op)?;
    let read = n.outputs().iter().flatten().any(|v| !g.uses(*v).is_empty());
    let waits = n.op.is("DequantizeLinear") && cx.before("fold-quantization");
    if r.props.has(Props::RANDOM) || !n.subgraphs.is_empty() || n.epilogue().is_some() || !read || waits {
        return None;
    }
    let known: Vec<Option<Tensor>> = n.outputs().iter().map(|v| v.and_then(|v| known(g, v))).collect();
    if known.iter().any(Option::is_some) && known.len() == 1 {
        return Some(known);
    }
    let operands: Option<Vec<Option<&Tensor>>> =
        n.inputs().iter().map(|v| v.map_or(Some(None), |v| g.constant(v).map(Some))).collect();
    let (operands, eval) = (operands?, r.eval?);
    if let Err(reason) = affordable(g, id, &operands, cx) {
        cx.decline(g, id, reason);
        return None;
    }
    let size = |t: &Tensor| t.byte_len();
    let from: usize = operands.iter().flatten().map(|t| size(t)).sum();
    // Constants that only this node reads are not needed any more.
    let freed = n.inputs().iter().flatten().filter(|v| g.single_user(**v).is_some());
    let freed: usize = freed.filter_map(|v| g.constant(*v)).map(size).sum();
    let left = cx.options.memory_budget.saturating_sub(cx.grown);
    let dtype = |v: &Option<ValueId>| v.and_then(|v| g.tensor_type(v)).map_or(DType::F32, |t| t.dtype);
    let dtypes: Vec<DType> = n.outputs().iter().map(dtype).collect();
    let limit = allowed(from).min(left.saturating_add(freed));
    let views: Vec<Option<View<'_>>> = operands.iter().map(|t| t.map(Tensor::view)).collect();
    let results = match eval(&EvalCx::new(r, &n.attrs, &dtypes, limit), &views) {
        Ok(results) => results,
        Err(e) => {
            cx.decline(g, id, format!("it cannot be evaluated: {e}"));
            return None;
        }
    };
    let asked = |(i, t): (usize, Tensor)| n.output(i).map(|v| (v, t));
    let made: Vec<(ValueId, Tensor)> = results.into_iter().enumerate().filter_map(asked).collect();
    let bytes: usize = made.iter().map(|(_, t)| size(t)).sum();
    if bytes > limit {
        cx.decline(g, id, format!("its results are of {bytes} bytes, its operands of {from}"));
        return None;
    }
    if made.len() != n.outputs().iter().flatten().count() || !made.iter().all(|(v, t)| fits(g, *v, t)) {
        cx.decline(g, id, "its evaluation does not give what inference says");
        return None;
    }
    cx.grown += bytes.saturating_sub(freed);
    Some(n.outputs().iter().map(|v| v.and_then(|v| Some(made.iter().find(|m| m.0 == v)?.1.clone()))).collect())
}

/// Whether a result has the type that inference gave it.
fn fits(g: &Graph, v: ValueId, t: &Tensor) -> bool {
    g.tensor_type(v).is_some_and(|ty| {
        let extents = ty.shape.as_ref().is_none_or(|s| {
            s.len() == t.rank()
                && s.iter().zip(t.shape()).all(|(d, n)| d.as_const().is_none() || d.as_usize() == Some(*n))
        });
        ty.dtype == t.dtype() && extents
    })
}

/// Whether evaluating the node stays within time and memory, as far as types tell.
fn affordable(g: &Graph, id: NodeId, operands: &[Option<&Tensor>], cx: &PassCx<'_>) -> Result<(), String> {
    let from: usize = operands.iter().flatten().map(|t| t.byte_len()).sum();
    let types = g.node(id).outputs().iter().flatten().filter_map(|v| g.tensor_type(*v));
    let sizes = types.clone().filter_map(|t| t.dtype.bytes_for(planc_tensor::element_count(&t.static_shape()?)?));
    let bytes = sizes.fold(0usize, usize::saturating_add);
    if bytes > allowed(from) {
        return Err(format!("its results are of {bytes} bytes, its operands of {from}"));
    }
    if bytes > cx.options.memory_budget.saturating_sub(cx.grown).saturating_add(from) {
        return Err(format!("its results are of {bytes} bytes and the memory budget is used up"));
    }
    let results: usize = types.filter_map(|t| planc_tensor::element_count(&t.static_shape()?)).sum();
    let shape = |i: usize| operands.get(i).copied().flatten().map_or(&[][..], Tensor::shape);
    let inner: usize = match kernel(g, id) {
        Some((Kernel::Gemm(k), _)) => *shape(0).iter().nth_back(usize::from(k.trans_a)).unwrap_or(&1),
        Some((Kernel::Conv(_) | Kernel::ConvTranspose(_), _)) => shape(1).iter().skip(1).product(),
        _ => 1,
    };
    if results.saturating_mul(inner) > WORK {
        return Err("it would take too long to evaluate".into());
    }
    Ok(())
}

/// An integer scalar or vector all of whose elements inference knows.
fn known(g: &Graph, v: ValueId) -> Option<Tensor> {
    let value = g.value(v);
    let known: Option<Vec<i64>> = value.known.as_ref()?.iter().map(|d| d.as_const()).collect();
    let (known, ty) = (known?, value.ty.as_tensor()?);
    let shape = ty.static_shape()?;
    if shape.len() > 1 || shape.iter().product::<usize>() != known.len() {
        return None;
    }
    match ty.dtype {
        DType::I64 => Tensor::new(shape, known).ok(),
        DType::I32 => {
            let narrow: Option<Vec<i32>> = known.iter().map(|v| i32::try_from(*v).ok()).collect();
            Tensor::new(shape, narrow?).ok()
        }
        _ => None,
    }
}

/// Replaces an If whose condition is constant by the nodes of the branch it takes.
fn take_branch(g: &mut Graph, id: NodeId, cx: &mut PassCx<'_>) -> bool {
    let n = g.node(id);
    let condition = n.input(0).filter(|_| n.op.is("If")).and_then(|v| g.constant(v)).and_then(|t| t.view().to_i64());
    let Some([condition]) = condition.as_deref() else { return false };
    let branch = if *condition != 0 { "then_branch" } else { "else_branch" };
    let Some(s) = n.subgraphs.iter().find(|s| &*s.name == branch).cloned() else { return false };
    let outputs = n.outputs().to_vec();
    let Some(values) = inline(g, id, &s) else { return false };
    for (old, new) in outputs.iter().zip(values) {
        if let Some(old) = old
            && !replace(g, *old, new)
        {
            let node =
                planc_ir::NodeBuilder::new(planc_ir::OpName::onnx("Identity")).inputs([new]).like(&g.node(id).clone());
            let ty = g.value(new).ty.clone();
            let copy = g.add_op(node, &format!("{}.copy", g.value(*old).name), ty);
            replace(g, *old, copy);
        }
    }
    if g.contains(id) {
        cx.decline(g, id, format!("{branch} gives fewer results than are read"));
    }
    !g.contains(id)
}

/// Makes what a subgraph captures a constant of the subgraph where it is one outside.
fn capture_constants(g: &mut Graph, id: NodeId) -> usize {
    let constant = |c: &Capture| g.constant(c.outer).cloned().map(|t| (*c, t));
    let found: Vec<Vec<(Capture, Tensor)>> =
        g.node(id).subgraphs.iter().map(|s| s.captures.iter().filter_map(constant).collect()).collect();
    let changes = found.iter().map(Vec::len).sum();
    if changes > 0 {
        g.edit_node(id, |e| {
            for (s, found) in e.subgraphs().iter_mut().zip(found) {
                for (capture, t) in found {
                    let ty = TensorType::fixed(t.dtype(), t.shape());
                    s.graph.set_type(capture.inner, ty);
                    s.graph.replace_with_const(capture.inner, t);
                    s.captures.retain(|c| *c != capture);
                }
            }
        });
    }
    changes
}
