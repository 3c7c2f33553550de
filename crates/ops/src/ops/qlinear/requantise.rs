//! Rounding sums of products of quantised numbers back to 8 bits.

use crate::OpError;
use crate::floats::widen;
use planc_tensor::{DType, Tensor, View};

/// Quantisation of a result: scale, zero point, element type.
pub(crate) struct Target {
    scale: f32,
    zero: i64,
    dtype: DType,
}

impl Target {
    /// From scale and zero point operands of one element each.
    ///
    /// # Errors
    /// When they are not.
    pub fn new(scale: View<'_>, zero: View<'_>) -> Result<Target, OpError> {
        match (widen(scale)?.as_slice(), zero.to_i64().as_deref()) {
            ([s], Some([z])) => Ok(Target { scale: *s as f32, zero: *z, dtype: zero.dtype() }),
            _ => Err(OpError::shape("the result's scale and zero point are not of one element")),
        }
    }

    /// A tensor of `values`, each with the factor that takes it to a real number.
    ///
    /// # Errors
    /// When the type is not of 8 bits or the counts differ.
    pub fn tensor(&self, shape: &[usize], values: impl Iterator<Item = (i64, f32)>) -> Result<Tensor, OpError> {
        let (low, high) = match self.dtype {
            DType::U8 => (0, 255),
            DType::I8 => (-128, 127),
            t => return Err(OpError::type_(format!("does not give {t}"))),
        };
        let quantised = values.map(|(v, factor)| {
            let q = (v as f32 * (factor / self.scale)).round_ties_even() as i64;
            q.saturating_add(self.zero).clamp(low, high)
        });
        Ok(if self.dtype == DType::U8 {
            Tensor::new(shape, quantised.map(|v| v as u8).collect())?
        } else {
            Tensor::new(shape, quantised.map(|v| v as i8).collect())?
        })
    }
}
