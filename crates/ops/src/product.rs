//! Matrix products with broadcast batch axes and 1-D operands, as numpy's `matmul` defines them: what MatMul and its
//! quantised kin share.

use crate::convolve::agree;
use crate::cx::InferCx;
use crate::elementwise::{broadcast_dims, for_each_offset};
use crate::error::OpError;
use planc_tensor::{DType, Dim, broadcast};
use std::ops::{AddAssign, Mul};

/// The shape of the product of operands of these shapes.
///
/// # Errors
/// When they do not multiply.
pub fn product_dims(a: &[Dim], b: &[Dim]) -> Result<Vec<Dim>, OpError> {
    let (Some(k), Some(last)) = (a.last(), b.last()) else {
        return Err(OpError::shape("a scalar does not multiply as a matrix"));
    };
    agree(k, if b.len() == 1 { last } else { &b[b.len() - 2] }, "inner extents of the product differ")?;
    let batch = |s: &[Dim]| s[..s.len().saturating_sub(2)].to_vec();
    let mut shape = broadcast_dims(&batch(a), &batch(b))?;
    shape.extend((a.len() > 1).then(|| a[a.len() - 2].clone()));
    shape.extend((b.len() > 1).then(|| last.clone()));
    Ok(shape)
}

/// Inference of the product of operands `a` and `b`, giving `dtype`.
///
/// # Errors
/// As [`product_dims`].
pub fn infer(cx: &mut InferCx<'_>, dtype: DType, a: usize, b: usize) -> Result<(), OpError> {
    let shape = match (cx.shape(a)?, cx.shape(b)?) {
        (Some(a), Some(b)) => Some(product_dims(a, b)?),
        (Some([]), _) | (_, Some([])) => return Err(OpError::shape("a scalar does not multiply as a matrix")),
        _ => None,
    };
    cx.set_shape(0, dtype, shape);
    Ok(())
}

/// A product about to run: `batch` products of `m x k` and `k x n`.
#[derive(Clone, Debug)]
pub struct Product {
    /// The result's shape.
    pub shape: Vec<usize>,
    /// Rows.
    pub m: usize,
    /// Inner extent.
    pub k: usize,
    /// Columns.
    pub n: usize,
    batches: Vec<(usize, usize)>,
}

impl Product {
    /// Checks the operands' shapes. `reserve` is asked before anything is allocated for the result.
    ///
    /// # Errors
    /// When they do not multiply, or `reserve` refuses.
    pub fn new(
        a: &[usize],
        b: &[usize],
        reserve: impl Fn(&[usize]) -> Result<usize, OpError>,
    ) -> Result<Product, OpError> {
        let mismatch = || OpError::shape(format!("{a:?} and {b:?} do not multiply"));
        let split = |s: &[usize]| s.split_at(s.len().saturating_sub(2)).0.to_vec();
        let (batch_a, batch_b) = (split(a), split(b));
        let (m, k) = match a {
            [] => return Err(mismatch()),
            [k] => (1, *k),
            [.., m, k] => (*m, *k),
        };
        let (inner, n) = match b {
            [] => return Err(mismatch()),
            [k] => (*k, 1),
            [.., k, n] => (*k, *n),
        };
        let batch = broadcast(&batch_a, &batch_b).filter(|_| inner == k).ok_or_else(mismatch)?;
        let mut shape = batch.clone();
        shape.extend((a.len() > 1).then_some(m));
        shape.extend((b.len() > 1).then_some(n));
        reserve(&shape)?;
        let mut batches = Vec::new();
        if !shape.contains(&0) {
            for_each_offset(&batch_a, &batch, |i| batches.push((i * m * k, 0)));
            let mut at = 0;
            for_each_offset(&batch_b, &batch, |i| {
                batches[at].1 = i * k * n;
                at += 1;
            });
        }
        Ok(Product { shape, m, k, n, batches })
    }

    /// The product of row-major elements.
    pub fn run<A: Copy + Default + AddAssign + Mul<Output = A>>(&self, a: &[A], b: &[A]) -> Vec<A> {
        let mut out = Vec::with_capacity(self.batches.len() * self.m * self.n);
        for (a_at, b_at) in &self.batches {
            for row in a[*a_at..][..self.m * self.k].chunks(self.k.max(1)).take(self.m) {
                let base = out.len();
                out.resize(base + self.n, A::default());
                accumulate(&mut out[base..], row, &b[*b_at..][..self.k * self.n]);
            }
            // Without inner elements there are no rows to walk; the sums are empty.
            if self.k == 0 {
                out.resize(out.len() + self.m * self.n, A::default());
            }
        }
        out
    }
}

/// Adds `row` times the matrix `b` of as many columns as `out` has elements.
pub fn accumulate<A: Copy + AddAssign + Mul<Output = A>>(out: &mut [A], row: &[A], b: &[A]) {
    if out.is_empty() {
        return;
    }
    for (x, b) in row.iter().zip(b.chunks(out.len())) {
        out.iter_mut().zip(b).for_each(|(y, b)| *y += *x * *b);
    }
}
