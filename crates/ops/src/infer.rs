//! Inference over graphs, and the checks that need only a row: arity, attributes, type variables.

use crate::cx::{Arg, InferCx};
use crate::def::{AttrKind, Default, OpDef, ParamKind, TypeSet};
use crate::error::{NodeError, OpError};
use crate::table;
use planc_ir::{Epilogue, Graph, NodeId, TensorType, Type, ValueId};
use planc_tensor::{Attr, DType};

/// Infers the types of all values, subgraphs included, in topological order.
///
/// # Errors
/// Every node that is wrong; nodes that read a wrong node's results are not reported again.
pub fn infer_graph(graph: &mut Graph) -> Result<(), Vec<NodeError>> {
    let mut errors = Vec::new();
    let mut poisoned = std::collections::HashSet::new();
    for id in graph.order() {
        let node = graph.node(id);
        let skip = node.reads().any(|v| poisoned.contains(&v));
        if !skip && let Err(error) = infer_node(graph, id) {
            errors.push(locate(graph, id, error));
        } else if !skip {
            continue;
        }
        poisoned.extend(graph.node(id).outputs().iter().flatten().copied());
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// `error` with the node's name, operator and operand types.
pub fn locate(graph: &Graph, id: NodeId, error: OpError) -> NodeError {
    let node = graph.node(id);
    let first = node.outputs().iter().flatten().next().map_or("", |v| &graph.value(*v).name);
    NodeError {
        node: if node.origin.node.is_empty() { first.to_string() } else { node.origin.node.to_string() },
        op: node.op.to_string(),
        opset: node.origin.opset,
        operands: node.inputs().iter().flatten().map(|v| graph.value(*v).ty.to_string()).collect(),
        error,
    }
}

/// Infers one node's results and sets their types.
///
/// # Errors
/// When the node is wrong.
pub fn infer_node(graph: &mut Graph, id: NodeId) -> Result<(), OpError> {
    let op = graph.node(id).op.clone();
    let row = table::row(&op).ok_or_else(|| OpError::unsupported(format!("no operator {op}")))?;
    check_node(graph, id, row)?;
    let mut subgraphs = Vec::new();
    graph.edit_node(id, |e| subgraphs = std::mem::take(e.subgraphs()));
    let node = graph.node(id);
    let inputs = node.inputs().iter().map(|v| v.map(|v| arg(graph, v))).collect();
    let names = node.outputs().iter().map(|v| v.map(|v| graph.value(v).name.to_string())).collect();
    // Captured values have the types of what they stand for.
    for s in &mut subgraphs {
        for c in &s.captures {
            let outer = graph.value(c.outer);
            let known = outer.as_const().and_then(small_integers).or_else(|| outer.known.clone());
            s.graph.set_type(c.inner, outer.ty.clone());
            s.graph.set_known(c.inner, known);
        }
    }
    let mut cx = InferCx::new(row, &node.attrs, inputs, &mut subgraphs, names);
    let result = (row.infer)(&mut cx);
    let (types, known) = cx.finish();
    graph.edit_node(id, |e| *e.subgraphs() = subgraphs);
    result?;
    for (i, (ty, known)) in types.into_iter().zip(known).enumerate() {
        let Some(v) = graph.node(id).output(i) else { continue };
        let ty = ty.ok_or_else(|| OpError::unsupported(format!("result {i} of {op} is not inferred")))?;
        check_extents(&ty)?;
        let ty = after_epilogue(graph.node(id).epilogue().filter(|_| i == 0), ty);
        graph.set_type(v, ty);
        graph.set_known(v, known);
    }
    Ok(())
}

/// The elements of a small integer constant, as inference keeps them.
pub(crate) fn small_integers(t: &planc_tensor::Tensor) -> Option<Vec<planc_tensor::Dim>> {
    let small = t.rank() <= 1 && t.len() <= crate::cx::MAX_KNOWN;
    small.then(|| t.view().to_i64())?.map(|v| v.into_iter().map(planc_tensor::Dim::from).collect())
}

/// The type of a result that `epilogue` runs on: the program decides the element type.
fn after_epilogue(epilogue: Option<&Epilogue>, ty: Type) -> Type {
    match (epilogue, ty) {
        (Some(e), Type::Tensor(t)) => TensorType { dtype: e.expr.result_type(), ..t }.into(),
        (_, ty) => ty,
    }
}

/// Elements of a tensor at most: keeps byte counts far from overflow.
const MAX_ELEMENTS: i64 = 1 << 46;

fn check_extents(ty: &Type) -> Result<(), OpError> {
    let Some(dims) = ty.as_tensor().and_then(|t| t.shape.as_ref()) else { return Ok(()) };
    let mut count: i64 = 1;
    for d in dims.iter().filter_map(planc_tensor::Dim::as_const) {
        if d < 0 {
            return Err(OpError::shape(format!("the result {ty} has a negative extent")));
        }
        count = count.saturating_mul(d.max(1));
    }
    let empty = dims.iter().any(|d| d.as_const() == Some(0));
    if count > MAX_ELEMENTS && !empty || dims.iter().any(|d| d.as_const().is_some_and(|d| d > MAX_ELEMENTS)) {
        return Err(OpError::limit(format!("the result {ty} is too large")));
    }
    Ok(())
}

/// The operand that `value` is.
pub(crate) fn arg(graph: &Graph, value: ValueId) -> Arg<'_> {
    let v = graph.value(value);
    Arg { ty: &v.ty, constant: v.as_const(), known: v.known.as_deref() }
}

/// Checks a node against its row: operand and result counts, attribute names and kinds, element types.
///
/// # Errors
/// The first thing that is wrong.
pub fn check_node(graph: &Graph, id: NodeId, row: &'static OpDef) -> Result<(), OpError> {
    let node = graph.node(id);
    for (i, p) in row.inputs.iter().enumerate() {
        if p.kind == ParamKind::Required && node.input(i).is_none() {
            return Err(OpError::arity(format!("operand {i} ({}) is missing", p.name)));
        }
    }
    if let Some(extra) = (0..node.inputs().len()).find(|i| row.input(*i).is_none()) {
        return Err(OpError::arity(format!("has {} operands, takes {extra}", node.inputs().len())));
    }
    if let Some(extra) = (0..node.outputs().len()).find(|i| row.output(*i).is_none()) {
        return Err(OpError::arity(format!("has {} results, gives {extra}", node.outputs().len())));
    }
    if node.outputs().iter().all(Option::is_none) {
        return Err(OpError::arity("has no results"));
    }
    for (name, value) in node.attrs.iter() {
        let def = row.attr(name).ok_or_else(|| OpError::attribute(format!("unknown attribute {name}")))?;
        check_kind(name, def.kind, value)?;
    }
    for a in row.attrs.iter().filter(|a| a.default == Default::Required) {
        let there = match a.kind {
            AttrKind::Graph => node.subgraphs.iter().any(|s| &*s.name == a.name),
            _ => node.attrs.get(a.name).is_some(),
        };
        if !there && a.until == u32::MAX {
            return Err(OpError::attribute(format!("attribute {} is missing", a.name)));
        }
    }
    check_types(graph, id, row)
}

/// Checks the kind of an attribute's value.
///
/// # Errors
/// When it is another kind than the row says.
pub fn check_kind(name: &str, kind: AttrKind, value: &Attr) -> Result<(), OpError> {
    let fits = matches!(
        (kind, value),
        (AttrKind::Int, Attr::Int(_))
            | (AttrKind::Float, Attr::Float(_))
            | (AttrKind::Str, Attr::Str(_))
            | (AttrKind::Ints, Attr::Ints(_))
            | (AttrKind::Floats, Attr::Floats(_))
            | (AttrKind::Strs, Attr::Strs(_))
            | (AttrKind::Tensor, Attr::Tensor(_))
    );
    if fits {
        return Ok(());
    }
    let want = format!("{kind:?}").to_lowercase();
    Err(OpError::attribute(format!("attribute {name} is of kind {}, not {want}", value.kind())))
}

/// Operands of one type variable have one element type, within its set.
fn check_types(graph: &Graph, id: NodeId, row: &'static OpDef) -> Result<(), OpError> {
    let node = graph.node(id);
    let mut bound: Vec<(&str, DType)> = Vec::new();
    for (i, v) in node.inputs().iter().enumerate() {
        let (Some(v), Some(p)) = (v, row.input(i)) else { continue };
        let Some(t) = graph.tensor_type(*v) else {
            // Operators of tensors of some types take no other values.
            if row.type_set(p.ty) != TypeSet::ALL {
                return Err(OpError::type_(format!("operand {i} ({}) does not take {}", p.name, graph.value(*v).ty)));
            }
            continue;
        };
        if !row.type_set(p.ty).has(t.dtype) {
            return Err(OpError::type_(format!("operand {i} ({}) does not take {}", p.name, t.dtype)));
        }
        if p.kind == ParamKind::Heterogeneous {
            continue;
        }
        match bound.iter().find(|(n, _)| *n == p.ty) {
            Some((_, d)) if *d != t.dtype => {
                let what = format!("operand {i} ({}) is {}, another operand of its type is {d}", p.name, t.dtype);
                return Err(OpError::type_(what));
            }
            Some(_) => {}
            None => bound.push((p.ty, t.dtype)),
        }
    }
    Ok(())
}
