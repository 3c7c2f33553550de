//! Inference through the bodies of control flow.

use planc_ir::{Capture, Graph, NodeBuilder, OpName, Subgraph, TensorType, Type, ValueId};
use planc_ops::infer_graph;
use planc_tensor::{DType, Dim, Tensor};

fn f32s(dims: &[&str]) -> TensorType {
    let dim = |d: &&str| d.parse::<i64>().map_or_else(|_| Dim::sym(d), Dim::from);
    TensorType::new(DType::F32, dims.iter().map(dim).collect())
}

fn named(name: &str) -> Option<(String, Type)> {
    Some((name.to_string(), TensorType::unranked(DType::F32).into()))
}

fn op(g: &mut Graph, op: &str, inputs: &[ValueId], name: &str) -> ValueId {
    g.add_op(NodeBuilder::new(OpName::onnx(op)).inputs(inputs.iter().copied()), name, TensorType::unranked(DType::F32))
}

/// A branch that captures `outer` and gives `Add` of it and a constant of `shape`.
fn branch(name: &str, outer: ValueId, ty: TensorType, shape: &[usize]) -> Subgraph {
    let mut g = Graph::new(name);
    let inner = g.add_capture("x", ty.into());
    let c = g.add_const("c", Tensor::zeros(DType::F32, shape).unwrap());
    let y = op(&mut g, "Add", &[inner, c], "y");
    g.set_outputs(vec![y]);
    Subgraph { name: name.into(), graph: g, captures: vec![Capture { outer, inner }] }
}

fn if_type(cond: Option<bool>, x: &[&str], then_shape: &[usize], else_shape: &[usize]) -> Result<String, String> {
    let mut g = Graph::new("g");
    let c = match cond {
        Some(v) => g.add_const("c", Tensor::scalar(v)),
        None => g.add_input("c", TensorType::new(DType::Bool, vec![])),
    };
    let v = g.add_input("v", f32s(x));
    let subgraphs = vec![branch("then_branch", v, f32s(x), then_shape), branch("else_branch", v, f32s(x), else_shape)];
    let n = g.add_node(NodeBuilder::new(OpName::onnx("If")).inputs([c]).subgraphs(subgraphs), vec![named("r")]);
    infer_graph(&mut g).map_err(|e| e[0].error.message.clone())?;
    Ok(g.value(g.node(n).output(0).unwrap()).ty.to_string())
}

#[test]
fn branches_are_joined() {
    assert_eq!(if_type(None, &["N", "4"], &[4], &[1]).unwrap(), "f32[N,4]");
    assert_eq!(if_type(None, &["1", "4"], &[3, 4], &[4]).unwrap(), "f32[r.d0,4]");
    assert_eq!(if_type(None, &["4"], &[3, 4], &[4]).unwrap(), "f32[..]");
    // A known condition decides, and the other branch may be wrong.
    assert_eq!(if_type(Some(true), &["4"], &[3, 4], &[7]).unwrap(), "f32[3,4]");
    assert_eq!(if_type(Some(false), &["4"], &[7], &[2, 4]).unwrap(), "f32[2,4]");
    assert!(if_type(None, &["4"], &[7], &[4]).unwrap_err().contains("in then_branch"));
}

/// A loop whose body gives its condition, `step` of what it carries, and the carried value to stack.
fn loop_types(m: Option<i64>, x: &[&str], step: &str) -> Result<Vec<String>, String> {
    let mut body = Graph::new("body");
    body.add_input("i", TensorType::unranked(DType::I64));
    let cond = body.add_input("cond", TensorType::unranked(DType::Bool));
    let carried = body.add_input("carried", TensorType::unranked(DType::F32));
    let next = match step {
        "grow" => {
            let b = NodeBuilder::new(OpName::onnx("Concat")).inputs([carried, carried]).attr("axis", 0i64);
            body.add_op(b, "next", TensorType::unranked(DType::F32))
        }
        _ => op(&mut body, step, &[carried], "next"),
    };
    let keep = op(&mut body, "Identity", &[cond], "keep");
    let stacked = op(&mut body, "Relu", &[carried], "stacked");
    body.set_outputs(vec![keep, next, stacked]);
    let mut g = Graph::new("g");
    let m = match m {
        Some(m) => g.add_const("m", Tensor::scalar(m)),
        None => g.add_input("m", TensorType::new(DType::I64, vec![])),
    };
    let v = g.add_input("v", f32s(x));
    let body = Subgraph { name: "body".into(), graph: body, captures: vec![] };
    let b = NodeBuilder::new(OpName::onnx("Loop")).optional_inputs(vec![Some(m), None, Some(v)]).subgraphs(vec![body]);
    let n = g.add_node(b, vec![named("last"), named("all")]);
    infer_graph(&mut g).map_err(|e| e[0].error.message.clone())?;
    Ok(g.node(n).outputs().iter().map(|v| g.value(v.unwrap()).ty.to_string()).collect())
}

#[test]
fn loops_settle() {
    assert_eq!(loop_types(Some(5), &["N", "3"], "Relu").unwrap(), ["f32[N,3]", "f32[5,N,3]"]);
    assert_eq!(loop_types(Some(i64::MAX), &["2"], "Relu").unwrap(), ["f32[2]", "f32[all.d0,2]"]);
    assert_eq!(loop_types(None, &["2", "3"], "grow").unwrap(), ["f32[last.d0,3]", "f32[all.d0,all.d1,3]"]);
    assert!(loop_types(None, &["2"], "Shape").unwrap_err().contains("carried"));
}

#[test]
fn a_loop_may_replace_an_optional_by_a_sequence() {
    let sequence = || Type::Sequence(Box::new(f32s(&["2"]).into()));
    let mut body = Graph::new("body");
    body.add_input("i", TensorType::unranked(DType::I64));
    let cond = body.add_input("cond", TensorType::unranked(DType::Bool));
    let carried = body.add_input("carried", Type::Optional(Box::new(sequence())));
    let held = body.add_op(NodeBuilder::new(OpName::onnx("OptionalGetElement")).inputs([carried]), "held", sequence());
    body.set_outputs(vec![cond, held]);
    let mut g = Graph::new("g");
    let m = g.add_input("m", TensorType::new(DType::I64, vec![]));
    let v = g.add_input("v", Type::Optional(Box::new(sequence())));
    let body = Subgraph { name: "body".into(), graph: body, captures: vec![] };
    let b = NodeBuilder::new(OpName::onnx("Loop")).optional_inputs(vec![Some(m), None, Some(v)]).subgraphs(vec![body]);
    let n = g.add_node(b, vec![named("last")]);
    infer_graph(&mut g).unwrap();
    assert_eq!(g.value(g.node(n).output(0).unwrap()).ty, sequence());
}

#[test]
fn scans_drop_and_add_the_sequence_axis() {
    let mut body = Graph::new("body");
    let state = body.add_input("state", TensorType::unranked(DType::F32));
    let x = body.add_input("x", TensorType::unranked(DType::F32));
    let sum = op(&mut body, "Add", &[state, x], "sum");
    let copy = op(&mut body, "Relu", &[x], "copy");
    body.set_outputs(vec![sum, copy]);
    let mut g = Graph::new("g");
    let s = g.add_input("s", f32s(&["3"]));
    let v = g.add_input("v", f32s(&["B", "T", "3"]));
    let body = Subgraph { name: "body".into(), graph: body, captures: vec![] };
    let b = NodeBuilder::new(OpName::onnx("Scan"))
        .inputs([s, v])
        .subgraphs(vec![body])
        .attr("num_scan_inputs", 1i64)
        .attr("scan_input_axes", vec![1i64])
        .attr("scan_output_axes", vec![-1i64]);
    let n = g.add_node(b, vec![named("last"), named("all")]);
    infer_graph(&mut g).unwrap();
    let types: Vec<String> = g.node(n).outputs().iter().map(|v| g.value(v.unwrap()).ty.to_string()).collect();
    // The state grows from [3] to [B,3] in the first iteration: its rank is not known.
    assert_eq!(types, ["f32[..]", "f32[B,3,T]"]);
}
