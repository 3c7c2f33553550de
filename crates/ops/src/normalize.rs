//! Normalisation by mean and variance over a run of trailing axes or over channel groups: the loops that all such
//! operators share.

use crate::error::OpError;
use planc_tensor::broadcast_strides;

/// Statistics of one group of elements.
#[derive(Clone, Copy, Debug)]
pub struct Moments {
    /// Mean; 0 where it is not subtracted.
    pub mean: f64,
    /// 1 / sqrt(variance + epsilon).
    pub inverse: f64,
}

/// Normalises each chunk of `len` elements in place: (x - mean) / sqrt(variance + epsilon), with the mean taken as 0
/// unless `centred`.
pub fn normalize(x: &mut [f64], len: usize, epsilon: f64, centred: bool) -> Vec<Moments> {
    if len == 0 {
        return vec![];
    }
    x.chunks_mut(len)
        .map(|part| {
            let n = part.len() as f64;
            let mean = if centred { part.iter().sum::<f64>() / n } else { 0.0 };
            let variance = part.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n;
            let inverse = 1.0 / (variance + epsilon).sqrt();
            part.iter_mut().for_each(|v| *v = (*v - mean) * inverse);
            Moments { mean, inverse }
        })
        .collect()
}

/// Combines `x` of `shape` with a parameter that broadcasts to it.
///
/// # Errors
/// When it does not broadcast.
pub fn apply(
    x: &mut [f64],
    shape: &[usize],
    (p, p_shape): (&[f64], &[usize]),
    f: fn(f64, f64) -> f64,
) -> Result<(), OpError> {
    if planc_tensor::broadcast(p_shape, shape).as_deref() != Some(shape) {
        return Err(OpError::shape(format!("a parameter of shape {p_shape:?} does not broadcast to {shape:?}")));
    }
    let mut at = 0;
    crate::elementwise::walk(shape, &broadcast_strides(p_shape, shape), &mut |i| {
        x[at] = f(x[at], p[i]);
        at += 1;
    });
    Ok(())
}
