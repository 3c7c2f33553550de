//! Computes in f32 what a model computes in f16 or bf16 and the backend has no kernel for.
//!
//! Processors of today mostly load and store 16-bit floats and compute in f32. A node that computes is widened: its
//! operands are converted, constants here and now, its results stay in f32 until something needs them in 16 bits: an
//! output of the graph, a subgraph, a node that is not widened. Nodes that only move elements, or that the backend
//! computes in 16 bits itself, go along with what they read: where all of it is in f32 they are widened too, so that
//! nothing is converted on the way to the next node that computes.
//!
//! Between widened nodes nothing is rounded to 16 bits: intermediate results keep more precision and range than the
//! model asks for, never less (onnxruntime does the same on CPUs). Conversions that the model itself writes are kept.
//! Constants are converted beyond the memory budget of folding, since converting them in every run costs more.
//! f64 is not touched: narrowing it would lose precision.
//!
//! ```ir
//! // before
//! graph @g (format 1) {
//!   in %x: f16[N,2]
//!   const %w: f16[2,3] = [1, 2, 3, 4, 5, 6]
//!   %h: f16[N,3] = MatMul(%x, %w)
//!   %t: f16[3,N] = Transpose(%h) {perm=[1,0]}
//!   %y: f16[3,N] = Relu(%t)
//!   out %y
//! }
//! // after
//! graph @g (format 1) {
//!   in %x: f16[N,2]
//!   %x.f32: f32[N,2] = Cast(%x) {to=1}
//!   const %w.f32: f32[2,3] = [1, 2, 3, 4, 5, 6]
//!   %h: f32[N,3] = MatMul(%x.f32, %w.f32)
//!   %t: f32[3,N] = Transpose(%h) {perm=[1,0]}
//!   %y.f32: f32[3,N] = Relu(%t)
//!   %y: f16[3,N] = Cast(%y.f32) {to=10}
//!   out %y
//! }
//! ```

use crate::rewrite::{floats, from_floats, kernel, supported};
use crate::{PassCx, PassError};
use planc_ir::{Graph, NodeBuilder, NodeId, OpName, TensorType, ValueId};
use planc_kir::{Expr, Inst, Kernel};
use planc_ops::{ParamKind, TypeSet, row};
use planc_tensor::DType;
use std::collections::{BTreeSet, HashMap};

/// The types that are widened.
const HALF: TypeSet = TypeSet::of(&[DType::F16, DType::BF16]);

/// Runs the pass.
///
/// # Errors
/// None of its own.
pub(crate) fn run(g: &mut Graph, cx: &mut PassCx<'_>) -> Result<usize, PassError> {
    let mut changes = cx.subgraphs(g, run)?;
    let order = g.order();
    let widened = choose(g, &order, cx);
    if widened.is_empty() {
        return Ok(changes);
    }
    let mut twins = Twins::default();
    for id in order {
        let reads: Vec<ValueId> = g.node(id).reads().collect();
        let wants_wide = widened.contains(&id);
        if wants_wide {
            reads.iter().for_each(|v| twins.widen(g, id, *v));
            let results: Vec<ValueId> = g.node(id).outputs().iter().flatten().copied().collect();
            results.into_iter().for_each(|v| twins.becomes_wide(g, v));
            changes += 1;
        } else if asks_for_types(g, id) {
            continue;
        } else {
            reads.iter().for_each(|v| twins.narrow(g, *v));
        }
        let known = if wants_wide { &twins.wide } else { &twins.half };
        if reads.iter().any(|v| known.contains_key(v)) {
            let new = |v: ValueId| known.get(&v).copied().unwrap_or(v);
            g.edit_node(id, |e| {
                e.inputs().iter_mut().flatten().for_each(|v| *v = new(*v));
                e.subgraphs().iter_mut().flat_map(|s| &mut s.captures).for_each(|c| c.outer = new(c.outer));
                e.map_sides(new);
            });
        }
    }
    let outputs: Vec<ValueId> = g.outputs().to_vec();
    for v in outputs {
        twins.finish_output(g, v);
    }
    Ok(changes)
}

/// What widening means for a node.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Computes in a type that the backend does not compute in.
    Computes,
    /// Runs as it is; goes along with what it reads.
    Follows,
}

/// The nodes to widen.
fn choose(g: &Graph, order: &[NodeId], cx: &mut PassCx<'_>) -> BTreeSet<NodeId> {
    let mut widened = BTreeSet::new();
    for id in order {
        let Some(kind) = kind(g, *id, cx) else { continue };
        match (kind, can_widen(g, *id)) {
            (Kind::Follows, fits) if fits.is_err() || !reads_wide(g, *id, &widened) => {}
            (_, Ok(())) => {
                widened.insert(*id);
            }
            (_, Err(reason)) => cx.decline(g, *id, reason),
        }
    }
    widened
}

fn kind(g: &Graph, id: NodeId, cx: &PassCx<'_>) -> Option<Kind> {
    let node = g.node(id);
    if !node.reads().any(|v| half(g, v).is_some()) {
        return None;
    }
    let (kernel, operands) = kernel(g, id)?;
    let computes = match &kernel {
        Kernel::Map(expr) if is_conversion(expr) => return None,
        Kernel::Map(expr) => expr.insts().iter().any(|i| !matches!(i, Inst::Arg(_))),
        Kernel::Reshape
        | Kernel::Reorder
        | Kernel::Transpose { .. }
        | Kernel::Slice(_)
        | Kernel::Concat { .. }
        | Kernel::Pad(_)
        | Kernel::Tile
        | Kernel::Gather { .. }
        | Kernel::GatherElements { .. }
        | Kernel::GatherNd { .. } => false,
        Kernel::Reference(_) => return None,
        _ => true,
    };
    let epilogue = node.epilogue().map(|e| &e.expr);
    let native = || node.output(0).is_some_and(|y| supported(g, cx, &kernel, epilogue, &operands, y));
    Some(if computes && !native() { Kind::Computes } else { Kind::Follows })
}

/// Whether a program does nothing but convert; such nodes say which type they want.
fn is_conversion(e: &Expr) -> bool {
    let casts = e.insts().iter().any(|i| matches!(i, Inst::Cast(..)));
    casts && e.insts().iter().all(|i| matches!(i, Inst::Arg(_) | Inst::Cast(..)))
}

fn half(g: &Graph, v: ValueId) -> Option<DType> {
    g.tensor_type(v).map(|t| t.dtype).filter(|t| HALF.has(*t))
}

/// Whether the operator takes f32 in all places where the node has 16-bit floats, and then gives f32.
fn can_widen(g: &Graph, id: NodeId) -> Result<(), &'static str> {
    let node = g.node(id);
    let r = row(&node.op).ok_or("the operator is unknown")?;
    if node.epilogue().is_some() {
        return Err("an epilogue runs on the result");
    }
    let mut variables = vec![];
    for (i, v) in node.inputs().iter().enumerate() {
        if !v.is_some_and(|v| half(g, v).is_some()) {
            continue;
        }
        let p = r.input(i).filter(|p| p.kind != ParamKind::Heterogeneous && r.type_set(p.ty).has(DType::F32));
        variables.push(p.ok_or("the operator's types are fixed otherwise")?.ty);
    }
    let follows = |(i, v): (usize, &Option<ValueId>)| {
        !v.is_some_and(|v| half(g, v).is_some()) || r.output(i).is_some_and(|p| variables.contains(&p.ty))
    };
    let all = node.outputs().iter().enumerate().all(follows);
    if all { Ok(()) } else { Err("the result's type does not follow from the operands'") }
}

/// Whether what a node reads in 16 bits are results of widened nodes, and constants beside them. Widening it then makes
/// no more conversions than leaving it.
fn reads_wide(g: &Graph, id: NodeId, widened: &BTreeSet<NodeId>) -> bool {
    let wide = |v: &ValueId| g.producer(*v).is_some_and(|(n, _)| widened.contains(&n));
    let operands: Vec<ValueId> = g.node(id).reads().filter(|v| half(g, *v).is_some()).collect();
    operands.iter().any(wide) && operands.iter().all(|v| wide(v) || g.constant(*v).is_some())
}

/// Whether a node reads its operand's extents only.
fn asks_for_types(g: &Graph, id: NodeId) -> bool {
    let op = &g.node(id).op;
    op.is("Shape") || op.is("Size")
}

/// Values in their other type.
#[derive(Default)]
struct Twins {
    /// The f32 form of 16-bit values.
    wide: HashMap<ValueId, ValueId>,
    /// The 16-bit form of results that became f32.
    half: HashMap<ValueId, ValueId>,
    /// The type of results before they became f32.
    was: HashMap<ValueId, DType>,
}

impl Twins {
    /// Result `v` of a widened node is f32 from now on.
    fn becomes_wide(&mut self, g: &mut Graph, v: ValueId) {
        let (Some(dtype), Some(ty)) = (half(g, v), g.tensor_type(v).cloned()) else { return };
        g.set_type(v, TensorType { dtype: DType::F32, ..ty });
        self.was.insert(v, dtype);
    }

    /// Makes the f32 form of 16-bit value `v`, before node `reader`.
    fn widen(&mut self, g: &mut Graph, reader: NodeId, v: ValueId) {
        if half(g, v).is_none() || self.wide.contains_key(&v) {
            return;
        }
        let name = format!("{}.f32", g.value(v).name);
        let converted = g.constant(v).and_then(|t| from_floats(DType::F32, t.shape(), floats(t)?));
        let twin = match converted {
            Some(t) => Some(g.add_const(&name, t)),
            None => cast(g, reader, v, DType::F32, &name),
        };
        self.wide.extend(twin.map(|twin| (v, twin)));
    }

    /// Makes the 16-bit form of `v` where it became f32, after its producer.
    fn narrow(&mut self, g: &mut Graph, v: ValueId) {
        let (Some(dtype), Some((producer, _))) = (self.was.get(&v), g.producer(v)) else { return };
        if !self.half.contains_key(&v) {
            let name = format!("{}.{}", g.value(v).name, dtype.name());
            let twin = cast(g, producer, v, *dtype, &name);
            self.half.extend(twin.map(|twin| (v, twin)));
        }
    }

    /// An output keeps its name and type; the f32 form is named after it.
    fn finish_output(&mut self, g: &mut Graph, v: ValueId) {
        self.narrow(g, v);
        let Some(twin) = self.half.get(&v).copied().filter(|_| g.outputs().contains(&v)) else { return };
        let outputs = g.outputs().iter().map(|o| if *o == v { twin } else { *o }).collect();
        g.set_outputs(outputs);
        let name = format!("{}.f32", g.value(v).name);
        g.swap_names(v, twin);
        g.rename(v, &name);
    }
}

/// `v` converted, with origin and place of `near`.
fn cast(g: &mut Graph, near: NodeId, v: ValueId, to: DType, name: &str) -> Option<ValueId> {
    let ty = g.tensor_type(v)?.clone();
    let builder = NodeBuilder::new(OpName::onnx("Cast")).inputs([v]).attr("to", i64::from(to.onnx()));
    let builder = builder.like(g.node(near));
    Some(g.add_op(builder, name, TensorType { dtype: to, ..ty }))
}
