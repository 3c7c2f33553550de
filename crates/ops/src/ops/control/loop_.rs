//! Loop: a body run up to M times while a condition holds. Values are carried from one iteration to the next; further
//! results of the body are stacked along a new first axis.

use crate::ops::control::body::{Results, fixpoint, visible};
use crate::{AttrDef, AttrKind, InferCx, Lowered, OpDef, OpError, Param, TypeSet};
use planc_ir::{Graph, TensorType, Type, ValueId};
use planc_tensor::{DType, Dim};

/// The row of Loop.
pub const OP: OpDef = OpDef {
    name: "Loop",
    types: &[("I", TypeSet::I64), ("B", TypeSet::BOOL), ("V", TypeSet::ALL)],
    inputs: &[Param::opt("M", "I"), Param::opt("cond", "B"), Param::hetero("v_initial", "V")],
    outputs: &[Param::hetero("v_final_and_scan_outputs", "V")],
    attrs: &[AttrDef::required("body", AttrKind::Graph)],
    infer,
    lower: |_| Lowered::Control,
    ..OpDef::NEW
};

fn infer(cx: &mut InferCx<'_>) -> Result<(), OpError> {
    let carried = (2..cx.input_count()).map(|i| cx.ty(i).cloned()).collect::<Result<Vec<_>, _>>()?;
    let n = carried.len();
    // The body says whether it takes iteration number and condition as scalars or as vectors of one element.
    let graph = &cx.subgraph("body")?.graph;
    let scalar = |i: usize, dtype: DType| -> Type {
        let ty = graph.inputs().get(i).and_then(|v| graph.tensor_type(*v));
        let vector = ty.and_then(TensorType::rank) == Some(1);
        TensorType::new(dtype, if vector { vec![Dim::from(1i64)] } else { vec![] }).into()
    };
    let lead = [scalar(0, DType::I64), scalar(1, DType::Bool)];
    let (carried, given) = fixpoint(cx, "body", (&lead, carried, &[]), 1)?;
    if given[0].0.as_tensor().is_none_or(|t| t.dtype != DType::Bool) {
        return Err(OpError::type_(format!("the body's condition is {}, not bool", given[0].0)));
    }
    if cx.output_count() > given.len() - 1 {
        return Err(OpError::arity(format!("has {} results, the body gives {}", cx.output_count(), given.len() - 1)));
    }
    let scope = visible(cx, "body")?;
    for (i, ty) in carried.iter().enumerate() {
        // Of an optional that the body replaces by a sequence, the sequence comes out.
        let ty = match (ty, &given[i + 1].0) {
            (Type::Optional(inner), Type::Sequence(_)) => inner,
            _ => ty,
        };
        let ty = scope.export(ty, &|axis| cx.fresh(i, axis));
        cx.set(i, ty);
    }
    let trips = trips(cx, &given)?;
    for i in n..cx.output_count() {
        let ty = scope.export(&given[i + 1].0, &|axis| cx.fresh(i, axis + 1));
        let Type::Tensor(t) = ty else { return Err(OpError::type_(format!("result {i} would stack {ty}"))) };
        let shape = t.shape.map(|s| {
            let first = trips.clone().unwrap_or_else(|| cx.fresh(i, 0));
            [vec![first], s].concat()
        });
        cx.set_shape(i, t.dtype, shape);
    }
    Ok(())
}

/// The number of iterations, where M alone decides it.
fn trips(cx: &mut InferCx<'_>, given: &Results) -> Result<Option<Dim>, OpError> {
    // More iterations than this are no count but "until the condition fails".
    const MOST: i64 = 1 << 31;
    let known_true = |k: &Option<Vec<Dim>>| k.as_ref().and_then(|k| k.first()?.as_const()).is_some_and(|v| v != 0);
    if cx.has(1) && !known_true(&cx.known(1)) {
        return Ok(None);
    }
    let m = if cx.has(0) { cx.known(0).and_then(|k| k.into_iter().next()) } else { None };
    let Some(m) = m.filter(|m| m.as_const().is_none_or(|m| m < MOST)) else { return Ok(None) };
    let graph = &cx.subgraph("body")?.graph;
    let stays = graph.outputs().first().is_some_and(|v| passes_on(graph, *v));
    Ok((stays || known_true(&given[0].1)).then(|| m.maximum(&Dim::from(0i64))))
}

/// Whether the condition that the body gives is the one it got.
fn passes_on(graph: &Graph, value: ValueId) -> bool {
    let mut value = value;
    while let Some((node, _)) = graph.producer(value) {
        match graph.node(node).input(0).filter(|_| graph.node(node).op.is("Identity")) {
            Some(v) => value = v,
            None => return false,
        }
    }
    graph.inputs().get(1) == Some(&value)
}
