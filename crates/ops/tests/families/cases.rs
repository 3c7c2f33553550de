//! Running one operator from data: what the tables of the family tests are made of.

use planc_ir::{Attrs, Graph, NodeBuilder, OpName, TensorType, Type};
use planc_ops::{EvalCx, OpError, find, infer_graph};
use planc_tensor::{Attr, DType, Tensor, View};

/// An f32 tensor.
pub fn f(shape: &[usize], v: &[f32]) -> Tensor {
    Tensor::new(shape, v.to_vec()).unwrap()
}

/// An f32 tensor counting up from 0.
pub fn count(shape: &[usize]) -> Tensor {
    f(shape, &(0..shape.iter().product::<usize>()).map(|v| v as f32).collect::<Vec<_>>())
}

/// Attributes from a list.
pub fn attrs(list: &[(&str, Attr)]) -> Attrs {
    list.iter().map(|(n, a)| (n.to_string(), a.clone())).collect()
}

/// Infers and evaluates `domain.op`; checks that both agree about types; the results.
pub fn run(
    domain: &str,
    op: &str,
    attrs: Attrs,
    inputs: &[Option<Tensor>],
    results: usize,
) -> Result<Vec<Tensor>, OpError> {
    let mut g = Graph::new("case");
    let constants = inputs.iter().enumerate();
    let values = constants.map(|(i, t)| t.as_ref().map(|t| g.add_const(&format!("i{i}"), t.clone()))).collect();
    let any = |i: usize| Some((format!("r{i}"), Type::from(TensorType::unranked(DType::F32))));
    let node = NodeBuilder::new(OpName::new(domain, op)).optional_inputs(values).attrs(attrs.clone());
    let node = g.add_node(node, (0..results).map(any).collect());
    infer_graph(&mut g).map_err(|e| e[0].error.clone())?;
    let types: Vec<TensorType> =
        g.node(node).outputs().iter().map(|v| g.tensor_type(v.unwrap()).unwrap().clone()).collect();
    let dtypes: Vec<DType> = types.iter().map(|t| t.dtype).collect();
    let row = find(domain, op).unwrap();
    let views: Vec<Option<View<'_>>> = inputs.iter().map(|t| t.as_ref().map(Tensor::view)).collect();
    let got = row.eval.unwrap()(&EvalCx::new(row, &attrs, &dtypes, 1 << 30), &views)?;
    for (ty, t) in types.iter().zip(&got) {
        assert_eq!(ty.dtype, t.dtype(), "{op}");
        assert_eq!(ty.static_shape().as_deref(), Some(t.shape()), "{op}: inference says {ty}");
    }
    Ok(got)
}

/// The first result's f32 elements and shape are these, within 1e-5.
pub fn check(op: &str, list: &[(&str, Attr)], inputs: &[Tensor], shape: &[usize], want: &[f32]) {
    let inputs: Vec<_> = inputs.iter().cloned().map(Some).collect();
    let got = run("", op, attrs(list), &inputs, 1).unwrap_or_else(|e| panic!("{op}: {e}"));
    assert_eq!(got[0].shape(), shape, "{op}");
    close(op, &got[0], want);
}

/// The elements are these, within 1e-5.
pub fn close(op: &str, got: &Tensor, want: &[f32]) {
    let v = planc_ops::floats::widen(got.view()).unwrap();
    let near = |(a, b): (&f64, &f32)| (a - f64::from(*b)).abs() <= 1e-5 * (1.0 + a.abs());
    assert!(v.len() == want.len() && v.iter().zip(want).all(near), "{op}: {v:?}, not {want:?}");
}

/// The operator refuses this, with a message that contains `message`.
pub fn refuse(op: &str, list: &[(&str, Attr)], inputs: &[Tensor], message: &str) {
    let inputs: Vec<_> = inputs.iter().cloned().map(Some).collect();
    let error = run("", op, attrs(list), &inputs, 1).expect_err(op);
    assert!(error.message.contains(message), "{op}: {error}");
}
