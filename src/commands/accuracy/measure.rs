//! How far numbers are from what they should be.

use crate::driver::passes::Quantised;
use planc_plan::program::ValueDecl;
use planc_tensor::{DType, Element, Layout, Tensor, View};

/// Sums over all samples.
#[derive(Clone, Debug, Default)]
pub struct Difference {
    /// Of squares of what is wanted.
    signal: f64,
    /// Of squares of what was got.
    got: f64,
    /// Of squares of differences.
    noise: f64,
    dot: f64,
    max_abs: f64,
}

impl Difference {
    /// Adds a tensor.
    ///
    /// # Errors
    /// When the types or extents differ.
    pub fn add(&mut self, want: &Tensor, got: &Tensor) -> Result<(), String> {
        if want.dtype() != got.dtype() || want.shape() != got.shape() {
            let text = crate::io::type_text;
            return Err(format!("an output is {}, in f32 it is {}", text(got), text(want)));
        }
        if super::compares(got.dtype()) {
            self.add_numbers(want, &reals(got.view()).unwrap_or_default());
        }
        Ok(())
    }

    /// Adds numbers; as many as there are on both sides.
    pub fn add_numbers(&mut self, want: &Tensor, got: &[f64]) {
        let want = reals(want.view()).unwrap_or_default();
        for (a, b) in want.iter().zip(got) {
            // Both infinite or both no number: no difference.
            let d = if a == b || a.is_nan() && b.is_nan() { 0.0 } else { a - b };
            if a.is_finite() && b.is_finite() {
                self.signal += a * a;
                self.got += b * b;
                self.dot += a * b;
            }
            self.noise += d * d;
            self.max_abs = self.max_abs.max(d.abs());
        }
    }

    /// Signal over noise in decibels; `None` where there is no noise.
    pub fn sqnr_db(&self) -> Option<f64> {
        (self.noise > 0.0).then(|| 10.0 * (self.signal.max(f64::MIN_POSITIVE) / self.noise).log10())
    }

    /// Cosine of the angle; 1 where nothing differs.
    pub fn cosine(&self) -> f64 {
        let size = (self.signal * self.got).sqrt();
        if size > 0.0 { self.dot / size } else { f64::from(u8::from(self.noise == 0.0)) }
    }

    /// The largest difference.
    pub fn max_abs(&self) -> f64 {
        self.max_abs
    }
}

/// The elements as numbers.
fn reals(v: View<'_>) -> Option<Vec<f64>> {
    match v.dtype() {
        DType::F32 => Some(v.to_vec::<f32>()?.into_iter().map(f64::from).collect()),
        DType::F64 => v.to_vec(),
        DType::F16 => Some(v.to_vec::<planc_tensor::f16>()?.into_iter().map(f64::from).collect()),
        DType::BF16 => Some(v.to_vec::<planc_tensor::bf16>()?.into_iter().map(f64::from).collect()),
        _ => Some(v.to_i64()?.into_iter().map(|v| v as f64).collect()),
    }
}

/// The numbers of a value of a plan in row-major order; `None` for types and layouts that are not compared.
pub fn numbers(decl: &ValueDecl, shape: &[usize], bytes: &[u8], q: Option<&Quantised>) -> Option<Vec<f64>> {
    let numbers: Vec<f64> = match (decl.dtype, q) {
        (DType::U8, Some(q)) => bytes.iter().map(|c| real(i64::from(*c), q)).collect(),
        (DType::I8, Some(q)) => bytes.iter().map(|c| real(i64::from(*c as i8), q)).collect(),
        (DType::F32, None) => f32::from_bytes(bytes)?.iter().map(|v| f64::from(*v)).collect(),
        _ => return None,
    };
    match decl.layout {
        Layout::RowMajor => Some(numbers),
        Layout::Nchw16c => in_rows(&numbers, shape),
        _ => None,
    }
}

fn real(code: i64, q: &Quantised) -> f64 {
    f64::from((code - q.zero_point) as f32 * q.scale)
}

/// Channels out of blocks of 16.
fn in_rows(v: &[f64], shape: &[usize]) -> Option<Vec<f64>> {
    let [n, c, spatial @ ..] = shape else { return None };
    let (pixels, blocks) = (spatial.iter().product::<usize>(), c.div_ceil(16));
    let mut out = Vec::with_capacity(n * c * pixels);
    for b in 0..*n {
        for c in 0..*c {
            for p in 0..pixels {
                out.push(*v.get(((b * blocks + c / 16) * pixels + p) * 16 + c % 16)?);
            }
        }
    }
    Some(out)
}

/// The position of the largest number in each row of the last axis.
pub fn top1(t: &Tensor) -> Vec<i64> {
    let numbers = reals(t.view()).unwrap_or_default();
    let classes = t.shape().last().copied().unwrap_or(1).max(1);
    let largest = |row: &[f64]| {
        let best = row.iter().enumerate().fold((0, f64::NEG_INFINITY), |b, (i, v)| if *v > b.1 { (i, *v) } else { b });
        best.0 as i64
    };
    numbers.chunks_exact(classes).map(largest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_measured() {
        let t = Tensor::vector(vec![3f32, -4.0]);
        let mut d = Difference::default();
        d.add_numbers(&t, &[3.0, -4.0]);
        assert_eq!((d.sqnr_db(), d.cosine(), d.max_abs()), (None, 1.0, 0.0));
        d.add_numbers(&t, &[3.0, -4.5]);
        assert!((d.sqnr_db().unwrap() - 10.0 * (50.0f64 / 0.25).log10()).abs() < 1e-9);
        assert_eq!(d.max_abs(), 0.5);
        assert_eq!(top1(&Tensor::new(vec![2, 3], vec![0f32, 2.0, 1.0, 5.0, 4.0, 5.0]).unwrap()), [1, 0]);
    }

    #[test]
    fn blocks_become_rows() {
        let v: Vec<f64> = (0..64).map(f64::from).collect();
        let rows = in_rows(&v, &[1, 17, 2]).unwrap();
        assert_eq!((rows.len(), rows[0], rows[1], rows[2], rows[32]), (34, 0.0, 16.0, 1.0, 32.0));
    }
}
