//! QLinearMatMul: a product of quantised matrices, requantised. A may have a scale and a zero point per row, B per
//! column.

use crate::cast;
use crate::floats::widen;
use crate::ops::nn::matmul_integer::{less_columns, less_rows};
use crate::ops::qlinear::qlinear_conv::inputs;
use crate::ops::qlinear::requantise::Target;
use crate::ops::qlinear::steps::Steps;
use crate::product::{Product, infer};
use crate::{EvalCx, OpDef, OpError, Param, TypeSet, operand};
use planc_ir::{Graph, NodeId, ValueId};
use planc_tensor::{DType, Tensor, View};

/// The row of QLinearMatMul.
pub const OP: OpDef = OpDef {
    name: "QLinearMatMul",
    since: 10,
    types: &[("T1", CODES), ("T2", CODES), ("T3", CODES), ("TS", TypeSet::of(&[DType::F32, DType::F16, DType::BF16]))],
    inputs: &[
        Param::req("a", "T1"),
        Param::req("a_scale", "TS"),
        Param::req("a_zero_point", "T1"),
        Param::req("b", "T2"),
        Param::req("b_scale", "TS"),
        Param::req("b_zero_point", "T2"),
        Param::req("y_scale", "TS"),
        Param::req("y_zero_point", "T3"),
    ],
    outputs: &[Param::req("y", "T3")],
    infer: |cx| {
        let dtype = cx.dtype(7)?;
        infer(cx, dtype, 0, 3)
    },
    eval: Some(eval),
    decompose: Some(decompose),
    ..OpDef::NEW
};

/// Bytes, and 8-bit floats from opset 21 on.
const CODES: TypeSet = TypeSet::BYTE.or(TypeSet::FLOAT8);

fn eval(cx: &EvalCx<'_>, given: &[Option<View<'_>>]) -> Result<Vec<Tensor>, OpError> {
    let at = |i: usize| operand(given, i);
    let (a, b) = (at(0)?, at(3)?);
    if [a, b, at(7)?].iter().any(|v| TypeSet::FLOAT8.has(v.dtype())) {
        return eval_floats(cx, given);
    }
    let product = Product::new(a.shape(), b.shape(), |s| cx.reserve(DType::I64, s))?;
    let sums = product.run(&less_rows(a, Some(at(2)?))?, &less_columns(b, Some(at(5)?))?);
    let (sa, sb) = (widen(at(1)?)?, widen(at(4)?)?);
    if (sa.len() != 1 && sa.len() != product.m) || (sb.len() != 1 && sb.len() != product.n) {
        return Err(OpError::shape(format!("scales of {} and {} elements do not fit", sa.len(), sb.len())));
    }
    let pick = |s: &[f64], i: usize| s[if s.len() == 1 { 0 } else { i }] as f32;
    let factor = |i: usize| pick(&sa, i / product.n % product.m) * pick(&sb, i % product.n);
    let values = sums.into_iter().enumerate().map(|(i, v)| (v, factor(i)));
    Ok(vec![Target::new(at(6)?, at(7)?)?.tensor(&product.shape, values)?])
}

/// As the formula says: operands dequantised, multiplied, quantised; sums in f64.
fn eval_floats(cx: &EvalCx<'_>, given: &[Option<View<'_>>]) -> Result<Vec<Tensor>, OpError> {
    let at = |i: usize| operand(given, i);
    let real = |i: usize| -> Result<Vec<f64>, OpError> {
        let value = |v: View<'_>| widen(cast::convert(v, DType::F32, cast::rounding(1, "up")?)?.view());
        let (codes, scale, zero) = (value(at(i)?)?, widen(at(i + 1)?)?, value(at(i + 2)?)?);
        match (scale.as_slice(), zero.as_slice()) {
            ([s], [z]) => Ok(codes.into_iter().map(|c| (c - z) * s).collect()),
            _ => Err(OpError::unsupported("scales per row or column of products of 8-bit floats")),
        }
    };
    let product = Product::new(at(0)?.shape(), at(3)?.shape(), |s| cx.reserve(DType::F64, s))?;
    let sums = product.run(&real(0)?, &real(3)?);
    let zero = widen(cast::convert(at(7)?, DType::F32, cast::rounding(1, "up")?)?.view())?;
    let (&[scale], &[zero]) = (widen(at(6)?)?.as_slice(), zero.as_slice()) else {
        return Err(OpError::shape("the result's scale and zero point are not of one element"));
    };
    let codes: Vec<f32> = sums.into_iter().map(|v| (v / scale + zero) as f32).collect();
    let dtype = at(7)?.dtype();
    // Floats saturate when they are converted.
    let whole = |low: f32, high: f32| codes.iter().map(|v| v.round_ties_even().clamp(low, high)).collect();
    let codes = match dtype {
        DType::U8 => whole(0.0, 255.0),
        DType::I8 => whole(-128.0, 127.0),
        _ => codes,
    };
    let codes = Tensor::new(product.shape.as_slice(), codes)?;
    Ok(vec![cast::convert(codes.view(), dtype, cast::rounding(1, "up")?)?])
}

/// MatMulInteger, the factor that takes its sums to units of the result, rounding.
fn decompose(graph: &mut Graph, id: NodeId) -> Result<Vec<Option<ValueId>>, String> {
    let mut s = Steps::new(graph, id)?;
    let [a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero] = inputs(&s)?;
    if s.dtype(a_scale) != DType::F32 || s.rank(b_scale)? > 1 || s.rank(b)? < 2 {
        return Err("scales of 16 bits or of several axes, or a vector".into());
    }
    if [a, b, y_zero].iter().any(|v| TypeSet::FLOAT8.has(s.dtype(*v))) {
        return Err("products of 8-bit floats".into());
    }
    let sums = s.op("sums", "MatMulInteger", &[a, b, a_zero, b_zero], DType::I32);
    let product = s.scales("product", "Mul", a_scale, b_scale);
    let factor = s.scales("factor", "Div", product, y_scale);
    let real = s.real(sums);
    let ratio = s.op("ratio", "Mul", &[real, factor], DType::F32);
    Ok(vec![Some(s.requantise(ratio, y_zero))])
}
