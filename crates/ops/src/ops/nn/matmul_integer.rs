//! MatMulInteger: matrix product of 8-bit integers less their zero points, in i32. Zero points are one for all, one per
//! row of A, one per column of B.

use crate::product::{Product, infer};
use crate::{EvalCx, LowerCx, Lowered, OpDef, OpError, Param, TypeSet, operand};
use planc_kir::Kernel;
use planc_tensor::{DType, Tensor, View};

/// The row of MatMulInteger.
pub const OP: OpDef = OpDef {
    name: "MatMulInteger",
    since: 10,
    types: &[("T1", TypeSet::BYTE), ("T2", TypeSet::BYTE), ("T3", TypeSet::of(&[DType::I32]))],
    inputs: &[
        Param::req("A", "T1"),
        Param::req("B", "T2"),
        Param::opt("a_zero_point", "T1"),
        Param::opt("b_zero_point", "T2"),
    ],
    outputs: &[Param::req("Y", "T3")],
    infer: |cx| infer(cx, DType::I32, 0, 1),
    eval: Some(eval),
    lower: |cx: &LowerCx<'_>| {
        let rank = |i| cx.shape(i).ok().flatten().map(<[_]>::len);
        // Zero points of more axes than one are left to the reference.
        let simple = |i| !cx.has(i) || rank(i).is_some_and(|r| r <= 1);
        let matrices = rank(0).is_some_and(|r| r >= 2) && rank(1).is_some_and(|r| r >= 2);
        if matrices && simple(2) && simple(3) {
            Lowered::kernel(Kernel::GemmInteger, cx.input_count())
        } else {
            Lowered::Reference
        }
    },
    ..OpDef::NEW
};

fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>]) -> Result<Vec<Tensor>, OpError> {
    let (a, b) = (operand(inputs, 0)?, operand(inputs, 1)?);
    let product = Product::new(a.shape(), b.shape(), |s| cx.reserve(DType::I32, s))?;
    let av = less_rows(a, inputs.get(2).copied().flatten())?;
    let bv = less_columns(b, inputs.get(3).copied().flatten())?;
    let y = product.run(&av, &bv).into_iter().map(|v| v as i32).collect();
    Ok(vec![Tensor::new(product.shape, y)?])
}

fn integers(x: View<'_>) -> Result<Vec<i64>, OpError> {
    x.to_i64().ok_or_else(|| OpError::type_(format!("does not take {}", x.dtype())))
}

/// Elements of `[.., M, K]` less a zero point: a scalar, `[M]`, or `[.., M, 1]`.
///
/// # Errors
/// When the zero point has another shape.
pub(crate) fn less_rows(a: View<'_>, zero: Option<View<'_>>) -> Result<Vec<i64>, OpError> {
    let mut v = integers(a)?;
    let Some(zero) = zero else { return Ok(v) };
    let z = integers(zero)?;
    let (k, rows) = match a.shape() {
        [.., m, k] => (*k, *m),
        [k] => (*k, 1),
        [] => return Ok(v),
    };
    let all_rows = v.len().checked_div(k).unwrap_or(0);
    if z.len() != 1 && z.len() != rows && z.len() != all_rows {
        return Err(OpError::shape(format!("a zero point of shape {:?} does not fit {:?}", zero.shape(), a.shape())));
    }
    let rows = v.chunks_mut(k.max(1)).enumerate();
    rows.for_each(|(i, row)| row.iter_mut().for_each(|v| *v -= z[i % z.len()]));
    Ok(v)
}

/// Elements of `[.., K, N]` less a zero point: a scalar, `[N]`, or `[.., 1, N]`.
///
/// # Errors
/// When the zero point has another shape.
pub(crate) fn less_columns(b: View<'_>, zero: Option<View<'_>>) -> Result<Vec<i64>, OpError> {
    let mut v = integers(b)?;
    let Some(zero) = zero else { return Ok(v) };
    let z = integers(zero)?;
    let (k, n) = match b.shape() {
        [.., k, n] => (*k, *n),
        [k] => (*k, 1),
        [] => return Ok(v),
    };
    let batches = v.len().checked_div(k * n).unwrap_or(0);
    if z.len() != 1 && z.len() != n && z.len() != n * batches {
        return Err(OpError::shape(format!("a zero point of shape {:?} does not fit {:?}", zero.shape(), b.shape())));
    }
    for (i, row) in v.chunks_mut(n.max(1)).enumerate() {
        let start = if z.len() == n * batches { i / k.max(1) * n } else { 0 };
        for (j, v) in row.iter_mut().enumerate() {
            *v -= z[if z.len() == 1 { 0 } else { start + j }];
        }
    }
    Ok(v)
}
