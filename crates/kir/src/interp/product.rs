//! Matrix products and attention.

use super::array::Array;
use super::index::indices;
use super::scalar::Scalar;
use super::{Cx, InterpError, Result, shape_error};
use crate::{Attention, Gemm};
use planc_tensor::{DType, Tensor, broadcast};

pub(super) fn gemm(cx: &Cx<'_>, g: &Gemm) -> Result<Vec<Tensor>> {
    multiply(cx, g, cx.array(0)?, cx.array(1)?, cx.optional_array(2)?)
}

/// Zero points are taken off first; what is left is a product.
pub(super) fn gemm_integer(cx: &Cx<'_>) -> Result<Vec<Tensor>> {
    let (a, b) = (cx.array(0)?, cx.array(1)?);
    let rows = cx.optional_array(2)?.map(|mut z| {
        // One per row of a: a column.
        if z.shape.len() == 1 {
            z.shape.push(1);
        }
        z
    });
    let (a, b) = (a.less(rows.as_ref())?, b.less(cx.optional_array(3)?.as_ref())?);
    multiply(cx, &Gemm { trans_a: false, trans_b: false, alpha: 1.0, beta: 1.0 }, a, b, None)
}

fn multiply(cx: &Cx<'_>, g: &Gemm, a: Array, b: Array, bias: Option<Array>) -> Result<Vec<Tensor>> {
    let (dtype, shape) = (cx.dtype(0)?, cx.shape(0)?);
    if [Some(&a), Some(&b), bias.as_ref()].into_iter().flatten().any(|x| x.dtype.is_float() != dtype.is_float()) {
        return Err(InterpError::Type("operands and result mix floats and integers".into()));
    }
    let ([a_batch @ .., a0, a1], [b_batch @ .., b0, b1]) = (a.shape.as_slice(), b.shape.as_slice()) else {
        return shape_error("the operands are not matrices");
    };
    let (m, k) = if g.trans_a { (*a1, *a0) } else { (*a0, *a1) };
    let (k2, n) = if g.trans_b { (*b1, *b0) } else { (*b0, *b1) };
    let batch = broadcast(a_batch, b_batch);
    let Some(batch) = batch.filter(|_| k == k2) else {
        return shape_error(format!("{:?} and {:?} do not multiply", a.shape, b.shape));
    };
    let full = [batch.as_slice(), &[m, n]].concat();
    if full != shape {
        return shape_error(format!("the result is {shape:?}, not {full:?}"));
    }
    let a = a.broadcast(&[batch.as_slice(), &[*a0, *a1]].concat())?;
    let b = b.broadcast(&[batch.as_slice(), &[*b0, *b1]].concat())?;
    let bias = bias.map(|b| b.broadcast(&full)).transpose()?;
    let swap = |mut index: Vec<usize>, swap: bool| {
        if swap {
            let last = index.len() - 1;
            index.swap(last - 1, last);
        }
        index
    };
    let r = batch.len();
    let element = |i: Vec<usize>| {
        let term = |p: usize| {
            let left = swap([&i[..r], &[i[r], p]].concat(), g.trans_a);
            let right = swap([&i[..r], &[p, i[r + 1]]].concat(), g.trans_b);
            a.at(&left).times(b.at(&right))
        };
        let product = (0..k).map(term).fold(Scalar::zero(dtype), Scalar::plus);
        let product = scaled(product, g.alpha);
        bias.as_ref().map_or(product, |b| product.plus(scaled(b.at(&i), g.beta)))
    };
    cx.store(indices(&full).map(element).collect())
}

/// `v * factor`; exact for integers where the factor is 1.
fn scaled(v: Scalar, factor: f32) -> Scalar {
    match v {
        Scalar::Int(_) if factor == 1.0 => v,
        Scalar::Int(v) => Scalar::Int((v as f64 * f64::from(factor)) as i128),
        Scalar::Float(v) => Scalar::Float(v * f64::from(factor)),
    }
}

/// Rows whose every element is masked give zeros.
pub(super) fn attention(cx: &Cx<'_>, a: &Attention) -> Result<Vec<Tensor>> {
    let (q, k, v) = (cx.array(0)?, cx.array(1)?, cx.array(2)?);
    let ([b, h, s, d], [_, hk, t, _], [.., e]) = (q.shape.as_slice(), k.shape.as_slice(), v.shape.as_slice()) else {
        return shape_error("the operands do not have 4 axes");
    };
    if *hk == 0 || h % hk != 0 {
        return shape_error(format!("{h} heads do not share {hk}"));
    }
    [&q, &k, &v].into_iter().try_for_each(Array::expect_float)?;
    k.expect(&[*b, *hk, *t, *d], "operand 1")?;
    v.expect(&[*b, *hk, *t, *e], "operand 2")?;
    let out = [*b, *h, *s, *e];
    if out != cx.shape(0)? {
        return shape_error(format!("the result is {:?}, not {out:?}", cx.shape(0)?));
    }
    let mask = cx.optional_array(3)?.map(|m| m.broadcast(&[*b, *h, *s, *t])).transpose()?;
    let mut elements = vec![];
    for i in indices(&out[..3]) {
        let (b, h, s_) = (i[0], i[1], i[2]);
        let group = h / (out[1] / hk);
        let score = |t_: usize| {
            if a.causal && t_ + s > s_ + t {
                return f64::NEG_INFINITY;
            }
            let dot: f64 = (0..*d).map(|d| q.float(&[b, h, s_, d]) * k.float(&[b, group, t_, d])).sum();
            let score = dot * f64::from(a.scale);
            match &mask {
                Some(m) if m.dtype == DType::Bool => {
                    if m.at(&[b, h, s_, t_]).is_true() {
                        score
                    } else {
                        f64::NEG_INFINITY
                    }
                }
                Some(m) => score + m.float(&[b, h, s_, t_]),
                None => score,
            }
        };
        let scores: Vec<f64> = (0..*t).map(score).collect();
        let max = scores.iter().fold(f64::NEG_INFINITY, |m, v| m.max(*v));
        let weights: Vec<f64> = scores
            .iter()
            .map(|v| if max == f64::NEG_INFINITY && !v.is_nan() { 0.0 } else { (v - max).exp() })
            .collect();
        let sum: f64 = weights.iter().sum();
        for e in 0..*e {
            let mix: f64 = weights.iter().enumerate().map(|(t, w)| w * v.float(&[b, group, t, e])).sum();
            elements.push(Scalar::Float(if sum == 0.0 { 0.0 } else { mix / sum }));
        }
    }
    cx.store(elements)
}
