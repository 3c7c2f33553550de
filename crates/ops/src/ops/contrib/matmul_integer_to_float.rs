//! com.microsoft.MatMulIntegerToFloat: a product of quantised matrices as real numbers, plus a bias.

use crate::floats::{narrow, widen};
use crate::normalize::apply;
use crate::ops::nn::matmul_integer::{less_columns, less_rows};
use crate::ops::qlinear::steps::Steps;
use crate::product::{Product, infer};
use crate::{EvalCx, OpDef, OpError, Param, TypeSet, operand};
use planc_ir::{Graph, NodeBuilder, NodeId, OpName, ValueId};
use planc_tensor::{DType, Tensor, View};

/// The row of MatMulIntegerToFloat.
pub const OP: OpDef = OpDef {
    name: "MatMulIntegerToFloat",
    domain: "com.microsoft",
    types: &[("T1", TypeSet::BYTE), ("T2", TypeSet::BYTE), ("T3", TypeSet::FLOAT)],
    inputs: &[
        Param::req("A", "T1"),
        Param::req("B", "T2"),
        Param::req("a_scale", "T3"),
        Param::req("b_scale", "T3"),
        Param::opt("a_zero_point", "T1"),
        Param::opt("b_zero_point", "T2"),
        Param::opt("bias", "T3"),
    ],
    outputs: &[Param::req("Y", "T3")],
    infer: |cx| {
        let dtype = cx.dtype(2)?;
        infer(cx, dtype, 0, 1)
    },
    eval: Some(eval),
    decompose: Some(decompose),
    ..OpDef::NEW
};

fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>]) -> Result<Vec<Tensor>, OpError> {
    let at = |i: usize| inputs.get(i).copied().flatten();
    let (a, b, sa, sb) = (operand(inputs, 0)?, operand(inputs, 1)?, operand(inputs, 2)?, operand(inputs, 3)?);
    let product = Product::new(a.shape(), b.shape(), |s| cx.reserve(DType::I64, s))?;
    let sums = product.run(&less_rows(a, at(4))?, &less_columns(b, at(5))?);
    let (dtype, sa, sb) = (sa.dtype(), widen(sa)?, widen(sb)?);
    if sa.len() != 1 || (sb.len() != 1 && sb.len() != product.n) {
        return Err(OpError::shape(format!("scales of {} and {} elements do not fit", sa.len(), sb.len())));
    }
    let scale = |i: usize| sa[0] * sb[if sb.len() == 1 { 0 } else { i % product.n }];
    let mut y: Vec<f64> = sums.into_iter().enumerate().map(|(i, v)| v as f64 * scale(i)).collect();
    if let Some(bias) = at(6) {
        apply(&mut y, &product.shape, (&widen(bias)?, bias.shape()), |a, b| a + b)?;
    }
    Ok(vec![narrow(dtype, &product.shape, y)?])
}

/// MatMulInteger, the product of the scales, the bias. Rounds after each step, where the evaluation rounds once.
fn decompose(graph: &mut Graph, id: NodeId) -> Result<Vec<Option<ValueId>>, String> {
    let mut s = Steps::new(graph, id)?;
    let (a, b, a_scale, b_scale) = (s.input(0)?, s.input(1)?, s.input(2)?, s.input(3)?);
    if s.dtype(a_scale) != DType::F32 || !s.is_single(a_scale) || s.rank(b_scale)? > 1 || s.rank(b)? < 2 {
        return Err("scales of 16 bits, of several axes or per row, or a vector".into());
    }
    let product = NodeBuilder::new(OpName::onnx("MatMulInteger"));
    let product = product.optional_inputs(vec![Some(a), Some(b), s.node.input(4), s.node.input(5)]);
    let sums = s.full("sums", product, DType::I32);
    let factor = s.scales("factor", "Mul", a_scale, b_scale);
    let real = s.real(sums);
    let mut y = s.op("scaled", "Mul", &[real, factor], DType::F32);
    if let Some(bias) = s.node.input(6) {
        y = s.op("biased", "Add", &[y, bias], DType::F32);
    }
    Ok(vec![Some(y)])
}
