//! com.microsoft.QLinearLeakyRelu: LeakyRelu of a quantised operand, with a quantised result.

use crate::elementwise::lower_map_optional;
use crate::floats::{narrow, widen};
use crate::scalar::int_range;
use crate::{AttrDef, EvalCx, InferCx, LowerCx, Lowered, OpDef, OpError, Param, TypeSet, operand};
use planc_kir::{BinOp, UnOp};
use planc_tensor::{DType, Tensor, View};

/// The row of QLinearLeakyRelu.
pub const OP: OpDef = OpDef {
    name: "QLinearLeakyRelu",
    domain: "com.microsoft",
    types: &[("T", TypeSet::BYTE), ("S", TypeSet::F32)],
    inputs: &[
        Param::req("X", "T"),
        Param::req("X_scale", "S"),
        Param::opt("X_zero_point", "T"),
        Param::req("Y_scale", "S"),
        Param::opt("Y_zero_point", "T"),
    ],
    outputs: &[Param::req("Y", "T")],
    attrs: &[AttrDef::float("alpha", 0.01)],
    infer,
    eval: Some(eval),
    lower,
    ..OpDef::NEW
};

/// Inference of a function of a quantised operand: scales and zero points, all that follows it, have one element.
///
/// # Errors
/// When one has several.
pub(super) fn infer(cx: &mut InferCx<'_>) -> Result<(), OpError> {
    for i in 1..cx.input_count() {
        if cx.has(i) && cx.tensor(i)?.static_shape().is_some_and(|s| s.iter().product::<usize>() != 1) {
            return Err(OpError::shape(format!("operand {i}, a scale or zero point, is not of one element")));
        }
    }
    crate::elementwise::infer_same(cx)
}

/// In f32, step by step as the kernel does: both round at the same places.
fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>]) -> Result<Vec<Tensor>, OpError> {
    let single = |i: usize, omitted: Option<f32>| match inputs.get(i).copied().flatten() {
        Some(v) => match widen(v)?[..] {
            [v] => Ok(v as f32),
            _ => Err(OpError::shape(format!("operand {i}, a scale or zero point, is not of one element"))),
        },
        None => omitted.ok_or_else(|| OpError::arity(format!("operand {i} is missing"))),
    };
    let x = operand(inputs, 0)?;
    let (x_scale, x_zero) = (single(1, None)?, single(2, Some(0.0))?);
    let (y_scale, y_zero) = (single(3, None)?, single(4, Some(0.0))?);
    let (low, high) = int_range(x.dtype()).ok_or_else(|| OpError::type_(format!("does not take {}", x.dtype())))?;
    let quantised = widen(x)?.into_iter().map(|v| {
        let real = (v as f32 - x_zero) * x_scale;
        let y = if real < 0.0 { cx.float("alpha") * real } else { real };
        ((y / y_scale).round_ties_even() + y_zero).clamp(low as f32, high as f32).into()
    });
    Ok(vec![narrow(x.dtype(), x.shape(), quantised.collect())?])
}

fn lower(cx: &LowerCx<'_>) -> Lowered {
    let (Ok(Some(x)), Ok(dtype)) = (cx.shape(0), cx.dtype(0)) else { return Lowered::Reference };
    // Operands of a Map broadcast to the result: a vector of one element does not broadcast to a scalar.
    let broadcasts = |i: usize| cx.shape(i).is_ok_and(|s| s.is_some_and(|s| s.len() <= x.len()));
    let Some((low, high)) = int_range(dtype) else { return Lowered::Reference };
    if !(1..cx.input_count()).all(|i| !cx.has(i) || broadcasts(i)) {
        return Lowered::Reference;
    }
    let alpha = f64::from(cx.float("alpha"));
    lower_map_optional(cx, |b, regs| {
        let reg = |i: usize| regs.get(i).copied().flatten();
        let mut x = b.cast(DType::F32, reg(0)?);
        if let Some(zero) = reg(2) {
            let zero = b.cast(DType::F32, zero);
            x = b.binary(BinOp::Sub, x, zero);
        }
        let x = b.binary(BinOp::Mul, x, reg(1)?);
        let scaled = b.binary_const(BinOp::Mul, x, alpha);
        let below = b.binary_const(BinOp::Lt, x, 0.0);
        let y = b.select(below, scaled, x);
        let y = b.binary(BinOp::Div, y, reg(3)?);
        let mut y = b.unary(UnOp::Round, y);
        if let Some(zero) = reg(4) {
            let zero = b.cast(DType::F32, zero);
            y = b.binary(BinOp::Add, y, zero);
        }
        let y = b.binary_const(BinOp::Max, y, low as f64);
        let y = b.binary_const(BinOp::Min, y, high as f64);
        Some(b.cast(dtype, y))
    })
}
