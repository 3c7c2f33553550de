//! What CumSum and CumProd share: an accumulation along an axis that keeps every step.

use crate::elementwise::{infer_same, only};
use crate::scalar::{Wide, from_numbers, numbers};
use crate::{AttrDef, EvalCx, InferCx, OpDef, OpError, Param, TypeSet, normal_axis, operand, reduction};
use planc_tensor::{Tensor, View};

/// What their rows start from.
pub const ROW: OpDef = OpDef {
    types: &[("T", reduction::TYPES), ("T2", TypeSet::INDEX)],
    inputs: &[Param::req("x", "T"), Param::req("axis", "T2")],
    outputs: &[Param::req("y", "T")],
    attrs: &[AttrDef::int("exclusive", 0), AttrDef::int("reverse", 0)],
    infer,
    ..OpDef::NEW
};

fn infer(cx: &mut InferCx<'_>) -> Result<(), OpError> {
    if let (Some(shape), Some(axis)) = (cx.shape(0)?, cx.known_ints(1)) {
        let [axis] = axis[..] else { return Err(OpError::shape("the axis is not one number")) };
        normal_axis(axis, shape.len())?;
    }
    infer_same(cx)
}

/// Evaluation: `ints` and `floats` accumulate from `start`; floats do so in `f64`.
///
/// # Errors
/// When the axis is out of range.
pub fn eval(
    cx: &EvalCx<'_>,
    inputs: &[Option<View<'_>>],
    start: i32,
    ints: fn(i128, i128) -> i128,
    floats: fn(f64, f64) -> f64,
) -> Result<Vec<Tensor>, OpError> {
    let x = only(inputs)?;
    let axis = operand(inputs, 1)?.to_i64().unwrap_or_default();
    let [axis] = axis[..] else { return Err(OpError::shape("the axis is not one number")) };
    let axis = normal_axis(axis, x.rank())?;
    if x.is_empty() {
        return Ok(vec![x.to_tensor()]);
    }
    let (n, inner): (usize, usize) = (x.shape()[axis], x.shape()[axis + 1..].iter().product());
    let (exclusive, reverse) = (cx.flag("exclusive"), cx.flag("reverse"));
    let mut data = numbers(x, |v| v)?;
    let zero = if x.dtype().is_float() { Wide::Float(start.into()) } else { Wide::Int(start.into()) };
    let rows = data.len() / n;
    for row in 0..rows {
        let first = row / inner * n * inner + row % inner;
        let mut acc = zero;
        for i in 0..n {
            let at = first + (if reverse { n - 1 - i } else { i }) * inner;
            let next = match (acc, data[at]) {
                (Wide::Int(a), Wide::Int(v)) => Wide::Int(ints(a, v)),
                (a, v) => Wide::Float(floats(a.as_f64(), v.as_f64())),
            };
            data[at] = if exclusive { acc } else { next };
            acc = next;
        }
    }
    Ok(vec![from_numbers(x.dtype(), x.shape(), data.into_iter(), Default::default())?])
}
