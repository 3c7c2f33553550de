//! Operators that are rewritten into others because they have no evaluation of their own: what comes out has the types
//! that inference promises, and everything in it can run.

use crate::cases::attrs;
use planc_ir::{Graph, NodeBuilder, OpName, TensorType, Type};
use planc_ops::{LowerCx, Lowered, all, find, infer_graph, row};
use planc_tensor::{Attr, DType, Dim};

/// An input of this type, written as in the text form: `f32[N,8]`. Nothing: omitted.
fn ty(text: &str) -> Option<Type> {
    let (dtype, dims) = text.trim_end_matches(']').split_once('[')?;
    let dim = |d: &str| d.parse::<i64>().map_or_else(|_| Dim::sym(d), Dim::from);
    let dims = dims.split(',').filter(|d| !d.is_empty()).map(dim).collect();
    Some(TensorType::new(DType::from_name(dtype)?, dims).into())
}

/// Rewrites a node; the operators of what replaces it, in order.
fn rewritten(op: &str, list: &[(&str, Attr)], inputs: &[&str], want: &str) -> Vec<String> {
    let mut g = Graph::new("case");
    let inputs = inputs.iter().enumerate().map(|(i, t)| ty(t).map(|t| g.add_input(&format!("i{i}"), t))).collect();
    let node = NodeBuilder::new(OpName::new("com.microsoft", op)).optional_inputs(inputs).attrs(attrs(list));
    let unknown: Type = TensorType::unranked(DType::F32).into();
    let node = g.add_node(node, vec![Some(("y".into(), unknown))]);
    infer_graph(&mut g).unwrap();
    let y = g.node(node).output(0).unwrap();
    assert_eq!(g.value(y).ty.to_string(), want, "{op}");
    let made = find("com.microsoft", op).unwrap().decompose.unwrap()(&mut g, node).unwrap();
    assert_eq!(g.value(made[0].unwrap()).ty.to_string(), want, "{op}");
    g.order().into_iter().filter(|id| *id != node).map(|id| g.node(id).op.to_string()).collect()
}

#[test]
fn products_of_quantised_matrices() {
    let dynamic = ["f32[N,8]", "i8[8,5]", "f32[5]", "i8[5]", "f32[5]"];
    let ops = rewritten("DynamicQuantizeMatMul", &[], &dynamic, "f32[N,5]");
    assert_eq!(ops, ["DynamicQuantizeLinear", "MatMulInteger", "Cast", "Mul", "Mul", "Add"]);
    let fixed = ["u8[N,8]", "f32[]", "u8[]", "i8[5,8]", "f32[]", "i8[]", "i32[5]", "f32[]", "u8[]"];
    let ops = rewritten("QGemm", &[("transB", Attr::Int(1))], &fixed, "u8[N,5]");
    assert!(ops.contains(&"Transpose".to_string()) && ops.contains(&"QuantizeLinear".to_string()), "{ops:?}");
    let ops = rewritten("QGemm", &[], &["u8[N,8]", "f32[]", "u8[]", "i8[8,5]", "f32[]", "i8[]"], "f32[N,5]");
    assert!(!ops.contains(&"QuantizeLinear".to_string()), "{ops:?}");
}

#[test]
fn fused_operators() {
    let gemm = ["f32[N,8]", "f32[8,5]", "f32[5]"];
    let ops = rewritten("FusedGemm", &[("activation", Attr::from("Relu"))], &gemm, "f32[N,5]");
    assert_eq!(ops, ["Gemm", "Relu"]);
    let heads = [("num_heads", Attr::Int(2))];
    let attention = ["f32[N,S,8]", "f32[N,L,8]", "f32[N,L,8]", "f32[24]"];
    let ops = rewritten("MultiHeadAttention", &heads, &attention, "f32[N,S,8]");
    assert_eq!(ops.iter().filter(|o| *o == "planc::Attention").count(), 1, "{ops:?}");
    let embed = ["i32[N,S]", "", "f32[9,6]", "f32[7,6]", "", "f32[6]", "f32[6]"];
    let ops = rewritten("EmbedLayerNormalization", &[], &embed, "f32[N,S,6]");
    assert_eq!(ops.last().map(String::as_str), Some("LayerNormalization"));
}

#[test]
fn every_row_can_run() {
    let control = ["If", "Loop", "Scan"];
    for r in all().filter(|r| r.eval.is_none() && r.decompose.is_none() && !control.contains(&r.name)) {
        // What is left becomes another operator when it is imported.
        let mut g = Graph::new("case");
        let node = NodeBuilder::new(OpName::new(r.domain, r.name));
        let node = g.add_node(node, vec![Some(("y".into(), TensorType::unranked(DType::F32).into()))]);
        let lowered = LowerCx::of(&g, node).map(|cx| (r.lower)(&cx));
        let runs = matches!(lowered, Some(Lowered::Kernel { .. } | Lowered::Control));
        assert!(runs || r.until < u32::MAX || row(&g.node(node).op).is_none(), "nothing runs {}::{}", r.domain, r.name);
    }
}
