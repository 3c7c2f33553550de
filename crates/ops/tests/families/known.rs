//! Extents that stay symbolic through shape arithmetic.

use planc_ir::{Attrs, Graph, NodeBuilder, OpName, TensorType, ValueId};
use planc_ops::{find, infer_graph};
use planc_tensor::{DType, Dim, Tensor, parse_dim};

/// A graph whose `shape` holds the extents `[N, 3, N*4]`.
fn graph() -> (Graph, ValueId) {
    let mut g = Graph::new("known");
    let (n, c) = (Dim::sym("N"), |v: i64| Dim::from(v));
    let x = g.add_input("x", TensorType::new(DType::F32, vec![n.clone(), c(3), n * c(4)]));
    let shape = add(&mut g, "Shape", Attrs::new(), &[x]);
    (g, shape)
}

fn add(g: &mut Graph, op: &str, attrs: Attrs, inputs: &[ValueId]) -> ValueId {
    let node = NodeBuilder::new(OpName::onnx(op)).inputs(inputs.iter().copied()).attrs(attrs);
    g.add_op(node, op, TensorType::unranked(DType::I64))
}

/// What `op` of the extents and `other` is known to be.
fn known(op: &str, other: Option<Tensor>) -> Option<Vec<Dim>> {
    let (mut g, shape) = graph();
    let mut operands = vec![shape];
    operands.extend(other.map(|t| g.add_const("other", t)));
    let y = add(&mut g, op, Attrs::new(), &operands);
    infer_graph(&mut g).unwrap();
    g.value(y).known.clone()
}

#[test]
fn arithmetic() {
    let i = |v: &[i64]| Some(Tensor::vector(v.to_vec()));
    let is = |op: &str, other, want: &[&str]| {
        let want: Vec<Dim> = want.iter().map(|d| parse_dim(d).unwrap()).collect();
        assert_eq!(known(op, other).unwrap(), want, "{op}");
    };
    is("Add", i(&[1]), &["N + 1", "4", "N*4 + 1"]);
    is("Mul", i(&[2, 1, 0]), &["N*2", "3", "0"]);
    is("Div", i(&[4]), &["floor(N/4)", "0", "N"]);
    is("Mod", i(&[4]), &["N - floor(N/4)*4", "3", "0"]);
    is("Neg", None, &["-N", "-3", "-N*4"]);
    is("Max", i(&[0]), &["N", "3", "N*4"]);
    is("ReduceProd", None, &["N*N*12"]);
    is("ReduceSum", None, &["N*5 + 3"]);
    // An extent is never -1.
    is("Equal", i(&[-1]), &["0", "0", "0"]);
    assert_eq!(known("Equal", i(&[5])), None);
    assert_eq!(known("Div", i(&[-2])), None);
}

#[test]
fn selection_between_extents() {
    let (mut g, shape) = graph();
    let wildcard = g.add_const("wildcard", Tensor::vector(vec![-1i64]));
    let (wanted, one) =
        (g.add_const("wanted", Tensor::vector(vec![-1i64, 3, 7])), g.add_const("one", Tensor::scalar(1i64)));
    let is_wild = add(&mut g, "Equal", Attrs::new(), &[wanted, wildcard]);
    let chosen = add(&mut g, "Where", Attrs::new(), &[is_wild, shape, wanted]);
    let cast = add(&mut g, "Cast", Attrs::new().with("to", i64::from(DType::I32.onnx())), &[chosen]);
    let same = add(&mut g, "Where", Attrs::new(), &[is_wild, one, one]);
    infer_graph(&mut g).unwrap();
    let text = |v| g.value(v).known.as_ref().map(|k| k.iter().map(Dim::to_string).collect::<Vec<_>>());
    assert_eq!(text(cast).unwrap(), ["N", "3", "7"]);
    assert_eq!(text(same).unwrap(), ["1", "1", "1"]);
}

#[test]
fn dynamic_quantisation_decomposes_into_the_same_types() {
    let mut g = Graph::new("dynamic");
    let x = g.add_input("x", TensorType::new(DType::F32, vec![Dim::sym("N"), Dim::from(4i64)]));
    let node = NodeBuilder::new(OpName::onnx("DynamicQuantizeLinear")).inputs([x]);
    let any = |n: &str| Some((n.to_string(), TensorType::unranked(DType::F32).into()));
    let node = g.add_node(node, vec![any("y"), any("scale"), any("zero")]);
    infer_graph(&mut g).unwrap();
    let before: Vec<_> = g.node(node).outputs().iter().map(|v| g.value(v.unwrap()).ty.clone()).collect();
    let made = find("", "DynamicQuantizeLinear").unwrap().decompose.unwrap()(&mut g, node).unwrap();
    infer_graph(&mut g).unwrap();
    let after: Vec<_> = made.into_iter().map(|v| g.value(v.unwrap()).ty.clone()).collect();
    assert_eq!(before, after);
}
