//! com.microsoft.Inverse: the inverse of each matrix of the last two axes.

use crate::floats::{narrow, widen};
use crate::{EvalCx, OpDef, OpError, Param, TypeSet, operand};
use planc_tensor::{DType, Tensor, View};

/// The row of Inverse.
pub const OP: OpDef = OpDef {
    name: "Inverse",
    domain: "com.microsoft",
    types: &[("T", TypeSet::of(&[DType::F32, DType::F16, DType::F64]))],
    inputs: &[Param::req("X", "T")],
    outputs: &[Param::req("Y", "T")],
    infer: |cx| {
        if let Some(shape) = cx.shape(0)? {
            let [.., rows, columns] = shape else { return Err(OpError::shape("the operand has no matrices")) };
            crate::convolve::agree(rows, columns, "the matrices are not square")?;
        }
        crate::elementwise::infer_same(cx)
    },
    eval: Some(eval),
    ..OpDef::NEW
};

fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>]) -> Result<Vec<Tensor>, OpError> {
    let x = operand(inputs, 0)?;
    let n = match x.shape() {
        [.., rows, columns] if rows == columns => *rows,
        shape => return Err(OpError::shape(format!("{shape:?} are not square matrices"))),
    };
    cx.reserve(DType::F64, x.shape())?;
    let mut values = widen(x)?;
    for (i, matrix) in values.chunks_mut((n * n).max(1)).enumerate() {
        invert(matrix, n).ok_or_else(|| OpError::value(format!("matrix {i} has no inverse")))?;
    }
    Ok(vec![narrow(x.dtype(), x.shape(), values)?])
}

/// Inverts a row-major matrix in place by Gauss and Jordan's elimination, with the largest pivot of each column (Golub and
/// Van Loan, Matrix Computations, 3.4); `None` where a column has none.
fn invert(a: &mut [f64], n: usize) -> Option<()> {
    let mut order: Vec<usize> = (0..n).collect();
    for step in 0..n {
        let size = |row: &usize| a[row * n + step].abs();
        let pivot = (step..n).max_by(|x, y| size(x).total_cmp(&size(y)))?;
        let value = a[pivot * n + step];
        if value == 0.0 || !value.is_finite() {
            return None;
        }
        if pivot != step {
            (0..n).for_each(|c| a.swap(pivot * n + c, step * n + c));
            order.swap(pivot, step);
        }
        // The column becomes that of the inverse, which has not been touched before.
        a[step * n + step] = 1.0;
        (0..n).for_each(|c| a[step * n + c] /= value);
        for row in (0..n).filter(|row| *row != step) {
            let factor = std::mem::replace(&mut a[row * n + step], 0.0);
            (0..n).for_each(|c| a[row * n + c] -= factor * a[step * n + c]);
        }
    }
    // Rows were exchanged: the inverse's columns go back to where their rows were.
    for row in a.chunks_mut(n) {
        let mixed = row.to_vec();
        order.iter().zip(mixed).for_each(|(column, v)| row[*column] = v);
    }
    Some(())
}
