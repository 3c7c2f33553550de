//! SequenceMap: a body applied to the elements of sequences side by side. Further sequences are walked along; tensors are
//! given to each call as they are. Nodes become a Loop that takes elements out and collects results.

use crate::ops::control::body::{infer as infer_body, visible};
use crate::sequences::{element, element_type};
use crate::{AttrDef, AttrKind, InferCx, OpDef, OpError, Param, TypeSet};
use planc_ir::{Capture, Graph, NodeBuilder, NodeId, OpName, Subgraph, TensorType, Type, ValueId};
use planc_tensor::DType;

/// The row of SequenceMap.
pub const OP: OpDef = OpDef {
    name: "SequenceMap",
    since: 17,
    types: &[("S", TypeSet::ALL), ("V", TypeSet::ALL)],
    inputs: &[Param::req("input_sequence", "S"), Param::hetero("additional_inputs", "V")],
    outputs: &[Param::hetero("out_sequence", "S")],
    attrs: &[AttrDef::required("body", AttrKind::Graph)],
    infer,
    decompose: Some(decompose),
    ..OpDef::NEW
};

fn infer(cx: &mut InferCx<'_>) -> Result<(), OpError> {
    element_type(cx, 0)?;
    let mut given = Vec::with_capacity(cx.input_count());
    for i in 0..cx.input_count() {
        given.push(match cx.ty(i)? {
            // Each call binds extents anew.
            Type::Sequence(t) => element(cx, 0, t),
            other => other.clone(),
        });
    }
    let results = infer_body(cx, "body", &given)?;
    if cx.output_count() > results.len() {
        return Err(OpError::arity(format!("has {} results, the body gives {}", cx.output_count(), results.len())));
    }
    let scope = visible(cx, "body")?;
    for (i, (ty, _)) in results.into_iter().enumerate().take(cx.output_count()) {
        if ty.as_tensor().is_none() {
            return Err(OpError::type_(format!("result {i} of the body is {ty}, not a tensor")));
        }
        let ty = scope.export(&ty, &|axis| cx.fresh(i, axis));
        cx.set(i, Type::Sequence(Box::new(ty)));
    }
    Ok(())
}

fn decompose(graph: &mut Graph, id: NodeId) -> Result<Vec<Option<ValueId>>, String> {
    let node = graph.node(id).clone();
    let operands: Vec<ValueId> = node.inputs().iter().copied().collect::<Option<_>>().ok_or("an operand is missing")?;
    let Subgraph { graph: mut body, mut captures, .. } =
        node.subgraphs.iter().find(|s| &*s.name == "body").cloned().ok_or("attribute body is missing")?;
    let first = node.outputs().iter().flatten().next().ok_or("no result is asked for")?;
    let name = graph.value(*first).name.to_string();
    let op = |name: &str| NodeBuilder::new(OpName::onnx(name)).like(&node);

    // The body takes the iteration's number, a condition and what is collected so far. Its own inputs become captures.
    let formal = body.inputs_to_captures();
    let number = body.add_input("iteration", TensorType::new(DType::I64, vec![]));
    let condition = body.add_input("condition", TensorType::new(DType::Bool, vec![]));
    for (outer, inner) in operands.iter().zip(&formal) {
        let ty = graph.value(*outer).ty.clone();
        let Type::Sequence(_) = &ty else {
            captures.push(Capture { outer: *outer, inner: *inner });
            continue;
        };
        let all = body.add_capture(&format!("{}.all", body.value(*inner).name), ty);
        captures.push(Capture { outer: *outer, inner: all });
        let (ty, name) = (body.value(*inner).ty.clone(), format!("{}.at", body.value(*inner).name));
        let one = body.add_op(NodeBuilder::new(OpName::onnx("SequenceAt")).inputs([all, number]), &name, ty);
        body.replace_uses(*inner, one);
    }
    let results = body.outputs().to_vec();
    let mut outputs = vec![condition];
    let mut starts = vec![];
    for (i, result) in results.into_iter().enumerate() {
        let Some(element) = body.tensor_type(result).cloned() else { return Err("a result is not a tensor".into()) };
        let ty = Type::Sequence(Box::new(TensorType::unranked(element.dtype).into()));
        let so_far = body.add_input(&format!("{}.so_far", body.value(result).name), ty.clone());
        let builder = NodeBuilder::new(OpName::onnx("SequenceInsert")).inputs([so_far, result]);
        let more = body.add_op(builder, &format!("{}.more", body.value(result).name), ty.clone());
        outputs.push(more);
        let empty = op("SequenceEmpty").attr("dtype", i64::from(element.dtype.onnx()));
        starts.push((graph.add_op(empty, &format!("{name}.start{i}"), ty.clone()), ty));
    }
    body.set_outputs(outputs);

    let length = op("SequenceLength").inputs([operands[0]]);
    let length = graph.add_op(length, &format!("{name}.length"), TensorType::new(DType::I64, vec![]));
    let mut inputs = vec![Some(length), None];
    inputs.extend(starts.iter().map(|(v, _)| Some(*v)));
    let body = Subgraph { name: "body".into(), graph: body, captures };
    let results = starts.into_iter().enumerate().map(|(i, (_, ty))| Some((format!("{name}.mapped{i}"), ty))).collect();
    let made = graph.add_node(op("Loop").optional_inputs(inputs).subgraphs(vec![body]), results);
    Ok(graph.node(made).outputs()[..node.outputs().len()].to_vec())
}
