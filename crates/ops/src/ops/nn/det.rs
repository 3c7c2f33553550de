//! Det: determinants of the matrices that the last two axes hold.

use crate::floats::{narrow, widen};
use crate::{InferCx, OpDef, OpError, Param, TypeSet, operand};

/// The row of Det.
pub const OP: OpDef = OpDef {
    name: "Det",
    since: 11,
    types: &[("T", TypeSet::FLOAT)],
    inputs: &[Param::req("X", "T")],
    outputs: &[Param::req("Y", "T")],
    infer: |cx: &mut InferCx<'_>| {
        let (dtype, shape) = (cx.dtype(0)?, cx.shape(0)?);
        let batch = match shape {
            Some([batch @ .., r, c]) => {
                crate::convolve::agree(r, c, "the matrices are not square")?;
                Some(batch.to_vec())
            }
            Some(s) => return Err(OpError::shape(format!("data of rank {} holds no matrices", s.len()))),
            None => None,
        };
        cx.set_shape(0, dtype, batch);
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let x = operand(inputs, 0)?;
        let [batch @ .., r, c] = x.shape() else { return Err(OpError::shape("data holds no matrices")) };
        if r != c {
            return Err(OpError::shape(format!("a matrix of {r} by {c} is not square")));
        }
        let count = cx.reserve(x.dtype(), batch)?;
        let mut data = widen(x)?;
        let det = match r {
            0 => vec![1.0; count],
            n => data.chunks_mut(n * n).map(|m| determinant(m, *n)).collect(),
        };
        Ok(vec![narrow(x.dtype(), batch, det)?])
    }),
    ..OpDef::NEW
};

/// By elimination with partial pivoting.
fn determinant(m: &mut [f64], n: usize) -> f64 {
    let mut det = 1.0;
    for k in 0..n {
        let pivot = (k..n).max_by(|a, b| m[a * n + k].abs().total_cmp(&m[b * n + k].abs())).unwrap_or(k);
        if m[pivot * n + k] == 0.0 {
            return 0.0;
        }
        if pivot != k {
            (0..n).for_each(|j| m.swap(pivot * n + j, k * n + j));
            det = -det;
        }
        det *= m[k * n + k];
        for i in k + 1..n {
            let factor = m[i * n + k] / m[k * n + k];
            (k..n).for_each(|j| m[i * n + j] -= factor * m[k * n + j]);
        }
    }
    det
}
