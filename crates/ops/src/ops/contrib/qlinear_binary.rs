//! com.microsoft.QLinearAdd and QLinearMul: arithmetic on quantised operands with a quantised result.

use crate::elementwise::{broadcast_dims, common_shape, for_each_offset};
use crate::floats::widen;
use crate::ops::qlinear::requantise::Target;
use crate::ops::qlinear::steps::Steps;
use crate::{EvalCx, InferCx, OpDef, OpError, Param, TypeSet, operand};
use planc_ir::{Graph, NodeBuilder, NodeId, OpName, ValueId};
use planc_tensor::{DType, Tensor, View};

const INPUTS: &[Param] = &[
    Param::req("A", "T"),
    Param::req("A_scale", "S"),
    Param::opt("A_zero_point", "T"),
    Param::req("B", "T"),
    Param::req("B_scale", "S"),
    Param::opt("B_zero_point", "T"),
    Param::req("C_scale", "S"),
    Param::opt("C_zero_point", "T"),
];

/// What both rows have.
const BINARY: OpDef = OpDef {
    domain: "com.microsoft",
    types: &[("T", TypeSet::BYTE), ("S", TypeSet::F32)],
    inputs: INPUTS,
    outputs: &[Param::req("C", "T")],
    infer,
    ..OpDef::NEW
};

/// The row of QLinearAdd.
pub const ADD: OpDef = OpDef {
    name: "QLinearAdd",
    eval: Some(|cx, i| eval(cx, i, |a, b| a + b)),
    decompose: Some(|g, id| decompose(g, id, "Add")),
    ..BINARY
};

/// The row of QLinearMul.
pub const MUL: OpDef = OpDef {
    name: "QLinearMul",
    eval: Some(|cx, i| eval(cx, i, |a, b| a * b)),
    decompose: Some(|g, id| decompose(g, id, "Mul")),
    ..BINARY
};

fn infer(cx: &mut InferCx<'_>) -> Result<(), OpError> {
    let dtype = cx.dtype(0)?;
    let shape = match (cx.shape(0)?, cx.shape(3)?) {
        (Some(a), Some(b)) => Some(broadcast_dims(a, b)?),
        _ => None,
    };
    cx.set_shape(0, dtype, shape);
    Ok(())
}

fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>], f: fn(f32, f32) -> f32) -> Result<Vec<Tensor>, OpError> {
    let (a, b) = (operand(inputs, 0)?, operand(inputs, 3)?);
    let shape = common_shape(&[a, b])?;
    cx.reserve(DType::I64, &shape)?;
    let none = Tensor::zeros(a.dtype(), vec![])?;
    let zero = |i: usize| inputs.get(i).copied().flatten().unwrap_or_else(|| none.view());
    let real = |x: View<'_>, scale: usize, z: View<'_>| {
        let (v, z) = (x.to_i64().unwrap_or_default(), z.to_i64().unwrap_or_default());
        match (widen(operand(inputs, scale)?)?.as_slice(), z.as_slice()) {
            ([s], [z]) => Ok(v.iter().map(|v| (v - z) as f32 * *s as f32).collect::<Vec<f32>>()),
            _ => Err(OpError::shape("a scale or zero point is not of one element")),
        }
    };
    let (x, y) = (real(a, 1, zero(2))?, real(b, 4, zero(5))?);
    let (mut left, mut right) = (vec![], vec![]);
    for_each_offset(a.shape(), &shape, |i| left.push(x[i]));
    for_each_offset(b.shape(), &shape, |i| right.push(y[i]));
    let values = left.into_iter().zip(right).map(|(x, y)| (1, f(x, y)));
    Ok(vec![Target::new(operand(inputs, 6)?, zero(7))?.tensor(&shape, values)?])
}

/// Both operands as real numbers, the operation, rounding.
fn decompose(graph: &mut Graph, id: NodeId, op: &str) -> Result<Vec<Option<ValueId>>, String> {
    let mut s = Steps::new(graph, id)?;
    let scales = [s.input(1)?, s.input(4)?, s.input(6)?];
    let zeros = [2, 5, 7].map(|i| s.node.input(i));
    if !scales.into_iter().chain(zeros.into_iter().flatten()).all(|v| s.is_single(v)) {
        return Err("a scale or zero point is not of one element".into());
    }
    let (a, b) = (s.input(0)?, s.input(3)?);
    let dtype = s.dtype(a);
    let b_real = s.dequantised("right", b, scales[1], zeros[1])?;
    let a_real = s.dequantised("left", a, scales[0], zeros[0])?;
    let y = s.op("real", op, &[a_real, b_real], DType::F32);
    let quantise = NodeBuilder::new(OpName::onnx("QuantizeLinear"));
    let quantise = quantise.optional_inputs(vec![Some(y), Some(scales[2]), zeros[2]]);
    // Without a zero point the result's type is to be said.
    let quantise = if zeros[2].is_none() { quantise.attr("output_dtype", i64::from(dtype.onnx())) } else { quantise };
    Ok(vec![Some(s.full("codes", quantise, dtype))])
}
