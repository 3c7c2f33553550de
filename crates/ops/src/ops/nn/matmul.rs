//! MatMul: matrix product with broadcast batch axes; 1-D operands gain an axis that the result loses again.

use crate::elementwise::elements;
use crate::floats::{narrow, widen};
use crate::product::{Product, infer};
use crate::{EvalCx, LowerCx, Lowered, OpDef, OpError, Param, TypeSet, operand};
use planc_ir::{Graph, NodeBuilder, NodeId, OpName, TensorType, ValueId};
use planc_kir::{Gemm, Kernel};
use planc_tensor::{DType, Dim, Tensor, View};
use std::num::Wrapping;

/// The row of MatMul.
pub const OP: OpDef = OpDef {
    name: "MatMul",
    types: &[("T", TypeSet::FLOAT.or(TypeSet::of(&[DType::I32, DType::I64, DType::U32, DType::U64])))],
    inputs: &[Param::req("A", "T"), Param::req("B", "T")],
    outputs: &[Param::req("Y", "T")],
    infer: |cx| {
        let dtype = cx.dtype(0)?;
        infer(cx, dtype, 0, 1)
    },
    eval: Some(eval),
    lower,
    decompose: Some(decompose),
    ..OpDef::NEW
};

fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>]) -> Result<Vec<Tensor>, OpError> {
    let (a, b) = (operand(inputs, 0)?, operand(inputs, 1)?);
    let product = Product::new(a.shape(), b.shape(), |s| cx.reserve(a.dtype(), s))?;
    Ok(vec![multiply(&product, a, b)?])
}

/// The product in the operands' type: floats accumulate in f64, integers wrap.
///
/// # Errors
/// When the operands' types differ or have no product.
pub(crate) fn multiply(product: &Product, a: View<'_>, b: View<'_>) -> Result<Tensor, OpError> {
    if a.dtype().is_float() {
        return narrow(a.dtype(), &product.shape, product.run(&widen(a)?, &widen(b)?));
    }
    crate::dispatch_int!(a.dtype(), T => {
        let wrap = |v: View<'_>| Ok::<_, OpError>(elements::<T>(v)?.iter().map(|v| Wrapping(*v)).collect::<Vec<_>>());
        let y = product.run(&wrap(a)?, &wrap(b)?);
        Ok(Tensor::new(product.shape.as_slice(), y.into_iter().map(|v| v.0).collect())?)
    }, Err(OpError::type_(format!("does not take {}", a.dtype()))))
}

fn lower(cx: &LowerCx<'_>) -> Lowered {
    let rank = |i| cx.tensor(i).ok().filter(|t| t.dtype.is_float()).and_then(TensorType::rank);
    match (rank(0), rank(1)) {
        (Some(a), Some(b)) if a >= 2 && b >= 2 => {
            Lowered::kernel(Kernel::Gemm(Gemm { trans_a: false, trans_b: false, alpha: 1.0, beta: 1.0 }), 2)
        }
        _ => Lowered::Reference,
    }
}

/// 1-D operands become matrices: `Squeeze(MatMul(Unsqueeze(a), Unsqueeze(b)))`.
fn decompose(graph: &mut Graph, id: NodeId) -> Result<Vec<Option<ValueId>>, String> {
    let node = graph.node(id).clone();
    let (Some(a), Some(b), Some(out)) = (node.input(0), node.input(1), node.output(0)) else {
        return Err("an operand is missing".into());
    };
    let shape = |v: ValueId| graph.tensor_type(v).and_then(|t| t.shape.clone()).ok_or("an operand's rank is unknown");
    let (mut sa, mut sb) = (shape(a)?, shape(b)?);
    if sa.is_empty() || sb.is_empty() || (sa.len() > 1 && sb.len() > 1) {
        return Err("both operands are matrices".into());
    }
    let dtype = graph.tensor_type(a).map_or(DType::F32, |t| t.dtype);
    let name = graph.value(out).name.to_string();
    let axis =
        |graph: &mut Graph, tag: &str, v: i64| graph.add_const(&format!("{name}.{tag}"), Tensor::vector(vec![v]));
    let matrix = |graph: &mut Graph, v: ValueId, at: i64, tag: &str, shape: &mut Vec<Dim>| {
        let axes = axis(graph, &format!("{tag}.axis"), at);
        shape.insert(at as usize, Dim::from(1i64));
        let b = NodeBuilder::new(OpName::onnx("Unsqueeze")).inputs([v, axes]).like(&node);
        graph.add_op(b, &format!("{name}.{tag}"), TensorType::new(dtype, shape.clone()))
    };
    let (vector_a, vector_b) = (sa.len() == 1, sb.len() == 1);
    let a = if vector_a { matrix(graph, a, 0, "row", &mut sa) } else { a };
    let b = if vector_b { matrix(graph, b, 1, "column", &mut sb) } else { b };
    let full = crate::product::product_dims(&sa, &sb).map_err(|e| e.to_string())?;
    let mut value = graph.add_op(
        NodeBuilder::new(OpName::onnx("MatMul")).inputs([a, b]).like(&node),
        &format!("{name}.matrix"),
        TensorType::new(dtype, full.clone()),
    );
    let mut axes = vec![];
    axes.extend(vector_a.then_some(full.len() as i64 - 2));
    axes.extend(vector_b.then_some(full.len() as i64 - 1));
    let kept = full.iter().enumerate().filter(|(i, _)| !axes.contains(&(*i as i64))).map(|(_, d)| d.clone()).collect();
    let axes = graph.add_const(&format!("{name}.axes"), Tensor::vector(axes));
    let squeeze = NodeBuilder::new(OpName::onnx("Squeeze")).inputs([value, axes]).like(&node);
    value = graph.add_op(squeeze, &format!("{name}.vector"), TensorType::new(dtype, kept));
    Ok(vec![Some(value)])
}
