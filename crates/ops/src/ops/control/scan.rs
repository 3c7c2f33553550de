//! Scan: a body run once per element of sequences. States are carried; further results are stacked along an axis.

use crate::convolve::agree;
use crate::ops::control::body::{fixpoint, visible};
use crate::{AttrDef, AttrKind, InferCx, Lowered, OpDef, OpError, Param, TypeSet, Upgrade, normal_axis};
use planc_ir::{Capture, Graph, NodeBuilder, NodeId, OpName, Subgraph, TensorType, Type, ValueId};
use planc_tensor::Dim;

/// The row of Scan.
pub const OP: OpDef = OpDef {
    name: "Scan",
    since: 8,
    types: &[("V", TypeSet::ALL)],
    inputs: &[Param::hetero("initial_state_and_scan_inputs", "V")],
    outputs: &[Param::hetero("final_state_and_scan_outputs", "V")],
    attrs: &[
        AttrDef::required("body", AttrKind::Graph),
        AttrDef::required("num_scan_inputs", AttrKind::Int),
        AttrDef::optional("scan_input_axes", AttrKind::Ints).since(9),
        AttrDef::optional("scan_input_directions", AttrKind::Ints).since(9),
        AttrDef::optional("scan_output_axes", AttrKind::Ints).since(9),
        AttrDef::optional("scan_output_directions", AttrKind::Ints).since(9),
        AttrDef::optional("directions", AttrKind::Ints).until(9),
        // Opset 8: every operand and result has a batch axis before its own; sequences run along axis 1.
        AttrDef::int("batched", 0).internal(),
    ],
    upgrades: &[Upgrade {
        to: 9,
        step: |cx| {
            if cx.inputs.first().is_some_and(Option::is_some) {
                return Err(OpError::unsupported("sequence_lens of opset 8"));
            }
            if !cx.inputs.is_empty() {
                cx.inputs.remove(0);
            }
            if let Some(d) = cx.attrs.take("directions") {
                cx.attrs.set("scan_input_directions", d);
            }
            cx.attrs.set("batched", 1);
            Ok(())
        },
    }],
    infer,
    lower: |cx| if cx.flag("batched") { Lowered::Reference } else { Lowered::Control },
    decompose: Some(over_batches),
    ..OpDef::NEW
};

/// A Scan with a batch axis becomes a Scan over that axis, whose body is the Scan without.
fn over_batches(graph: &mut Graph, id: NodeId) -> Result<Vec<Option<ValueId>>, String> {
    let node = graph.node(id).clone();
    if node.attrs.int("batched").unwrap_or(0) == 0 {
        return Err("it has no batch axis".into());
    }
    let operands: Vec<ValueId> = node.inputs().iter().copied().collect::<Option<_>>().ok_or("an operand is missing")?;
    let mut subgraphs = node.subgraphs.clone();
    let mut outer = Graph::new("batch");
    let mut inputs = Vec::with_capacity(operands.len());
    for v in &operands {
        let value = graph.value(*v);
        let ty = value.ty.as_tensor().ok_or("an operand is not a tensor")?;
        let shape = ty.shape.as_ref().map(|s| s.iter().skip(1).cloned().collect());
        inputs.push(outer.add_input(&value.name, TensorType { shape, ..ty.clone() }));
    }
    // What the inner body reads of the graph comes through the outer one.
    let mut captures = vec![];
    for c in subgraphs.iter_mut().flat_map(|s| &mut s.captures) {
        let value = graph.value(c.outer);
        let inner = outer.add_capture(&value.name, value.ty.clone());
        captures.push(Capture { outer: c.outer, inner });
        c.outer = inner;
    }
    let mut attrs = node.attrs.clone();
    attrs.take("batched");
    let results = node.outputs().iter().enumerate().map(|(i, v)| {
        let ty = v.map_or_else(|| TensorType::unranked(planc_tensor::DType::F32).into(), |v| graph.value(v).ty.clone());
        Some((format!("r{i}"), ty))
    });
    let results = results.collect();
    let one = NodeBuilder::new(OpName::onnx("Scan")).inputs(inputs).attrs(attrs).subgraphs(subgraphs);
    let one = outer.add_node(one, results);
    outer.set_outputs(outer.node(one).outputs().iter().flatten().copied().collect());
    let body = Subgraph { name: "body".into(), graph: outer, captures };
    let all = NodeBuilder::new(OpName::onnx("Scan")).inputs(operands.iter().copied()).like(&node);
    let all = all.attr("num_scan_inputs", operands.len() as i64).subgraphs(vec![body]);
    let results = node.outputs().iter().map(|v| {
        let value = graph.value((*v)?);
        Some((format!("{}.batches", value.name), value.ty.clone()))
    });
    let results = results.collect();
    let made = graph.add_node(all, results);
    Ok(graph.node(made).outputs().to_vec())
}

/// Entry `i` of an attribute with one number per scan input or output.
fn entry(cx: &InferCx<'_>, name: &str, i: usize, count: usize) -> Result<i64, OpError> {
    match cx.ints(name) {
        Some(v) if v.len() != count => Err(OpError::attribute(format!("{name} has {} numbers, not {count}", v.len()))),
        Some(v) => Ok(v[i]),
        None => Ok(0),
    }
}

/// A direction, checked.
fn direction(cx: &InferCx<'_>, name: &str, i: usize, count: usize) -> Result<(), OpError> {
    match entry(cx, name, i, count)? {
        0 | 1 => Ok(()),
        other => Err(OpError::attribute(format!("{name} has {other}"))),
    }
}

fn infer(cx: &mut InferCx<'_>) -> Result<(), OpError> {
    let total = cx.input_count();
    let scans = usize::try_from(cx.int("num_scan_inputs")).ok().filter(|n| (1..=total).contains(n));
    let scans = scans.ok_or_else(|| OpError::attribute(format!("num_scan_inputs is {}", cx.int("num_scan_inputs"))))?;
    let states = total - scans;
    let batched = cx.flag("batched");
    let mut batch: Option<Dim> = None;
    // The batch axis, if there is one, is none of the body's business.
    let mut inner = |ty: &Type| -> Result<Type, OpError> {
        match ty {
            Type::Tensor(t) if batched => {
                let Some(s) = &t.shape else { return Ok(ty.clone()) };
                let (b, rest) = s.split_first().ok_or_else(|| OpError::shape("an operand has no batch axis"))?;
                if let Some(seen) = &batch {
                    agree(seen, b, "batch extents differ")?;
                }
                batch = Some(b.clone());
                Ok(TensorType::new(t.dtype, rest.to_vec()).into())
            }
            _ => Ok(ty.clone()),
        }
    };
    let carried = (0..states).map(|i| inner(cx.ty(i)?)).collect::<Result<Vec<_>, _>>()?;
    let mut length: Option<Dim> = None;
    let mut elements = vec![];
    for i in 0..scans {
        direction(cx, "scan_input_directions", i, scans)?;
        let ty = inner(cx.ty(states + i)?)?;
        let t = ty.as_tensor().ok_or_else(|| OpError::type_(format!("operand {} is not a tensor", states + i)))?;
        let axis = entry(cx, "scan_input_axes", i, scans)?;
        let shape = match &t.shape {
            Some(s) => {
                let axis = normal_axis(axis, s.len())?;
                let mut rest = s.clone();
                let n = rest.remove(axis);
                if let Some(seen) = &length {
                    agree(seen, &n, "sequences differ in length")?;
                }
                length = length.filter(|l| l.as_const().is_some()).or(Some(n));
                Some(rest)
            }
            None => None,
        };
        elements.push(Type::Tensor(TensorType { shape, ..t.clone() }));
    }
    let (carried, given) = fixpoint(cx, "body", (&[], carried, &elements), 0)?;
    if cx.output_count() > given.len() {
        return Err(OpError::arity(format!("has {} results, the body gives {}", cx.output_count(), given.len())));
    }
    let scope = visible(cx, "body")?;
    let outs = given.len() - states;
    for i in 0..cx.output_count() {
        let shift = usize::from(batched);
        let ty = if i < states { &carried[i] } else { &given[i].0 };
        let ty = scope.export(ty, &|axis| cx.fresh(i, axis + shift + usize::from(i >= states)));
        let Type::Tensor(mut t) = ty else {
            if i < states && !batched {
                cx.set(i, ty);
                continue;
            }
            return Err(OpError::type_(format!("result {i} would stack {ty}")));
        };
        if i >= states {
            direction(cx, "scan_output_directions", i - states, outs)?;
            let axis = entry(cx, "scan_output_axes", i - states, outs)?;
            if let Some(s) = &mut t.shape {
                let axis = normal_axis(axis, s.len() + 1)?;
                s.insert(axis, length.clone().unwrap_or_else(|| cx.fresh(i, axis + shift)));
            }
        }
        if let (true, Some(s)) = (batched, &mut t.shape) {
            s.insert(0, batch.clone().unwrap_or_else(|| cx.fresh(i, 0)));
        }
        cx.set(i, t);
    }
    Ok(())
}
