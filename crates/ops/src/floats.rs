//! Evaluating in f64: operands of any float type widened, results rounded once.
//!
//! What accumulates (products, sums, variances) computes in f64 and is rounded to the result's type at the end, so
//! that one simple loop is right for every type.

use crate::error::OpError;
use planc_tensor::{Complex, DType, Tensor, View, bf16, bf16_from_f64, f16, f16_from_f64};

/// The elements as f64; integers (i64 above 2^53 rounds) and booleans too.
///
/// # Errors
/// For types without such a value: strings, complex, 8-bit floats.
pub fn widen(x: View<'_>) -> Result<Vec<f64>, OpError> {
    macro_rules! from {
        ($t:ty, $f:expr) => {{
            let f: fn($t) -> f64 = $f;
            x.to_vec::<$t>().map(|v| v.into_iter().map(f).collect())
        }};
    }
    let wide: Option<Vec<f64>> = match x.dtype() {
        DType::F32 => from!(f32, f64::from),
        DType::F64 => x.to_vec::<f64>(),
        DType::F16 => from!(f16, f16::to_f64),
        DType::BF16 => from!(bf16, bf16::to_f64),
        DType::U64 => from!(u64, |v| v as f64),
        _ => x.to_i64().map(|v| v.into_iter().map(|v| v as f64).collect()),
    };
    wide.ok_or_else(|| OpError::type_(format!("does not take {}", x.dtype())))
}

/// The parts of complex elements; `None` for other types.
pub(crate) fn complex(x: View<'_>) -> Option<Vec<Complex<f64>>> {
    match x.dtype() {
        DType::C64 => {
            x.to_vec::<Complex<f32>>().map(|v| v.iter().map(|c| Complex::new(c.re.into(), c.im.into())).collect())
        }
        DType::C128 => x.to_vec::<Complex<f64>>(),
        _ => None,
    }
}

/// `f` of `x`, where `f` is linear in it: of complex elements, of their real and imaginary parts in f64.
///
/// # Errors
/// As `f`.
pub(crate) fn by_parts(x: View<'_>, f: impl Fn(View<'_>) -> Result<Tensor, OpError>) -> Result<Tensor, OpError> {
    let Some(elements) = complex(x) else { return f(x) };
    let part =
        |of: fn(&Complex<f64>) -> f64| f(Tensor::new(x.shape(), elements.iter().map(of).collect::<Vec<f64>>())?.view());
    let (re, im) = (part(|c| c.re)?, part(|c| c.im)?);
    let joined = widen(re.view())?.into_iter().zip(widen(im.view())?);
    Ok(if x.dtype() == DType::C64 {
        Tensor::new(re.shape(), joined.map(|(re, im)| Complex::new(re as f32, im as f32)).collect::<Vec<_>>())?
    } else {
        Tensor::new(re.shape(), joined.map(|(re, im)| Complex::new(re, im)).collect::<Vec<_>>())?
    })
}

/// The elements of `x` if there is one, else `None`.
///
/// # Errors
/// As [`widen`].
pub fn widen_opt(x: Option<View<'_>>) -> Result<Option<Vec<f64>>, OpError> {
    x.map(widen).transpose()
}

/// A tensor of `dtype` whose elements are `values` rounded (integers: truncated and saturated).
///
/// # Errors
/// For types that [`widen`] does not take, and when the shape has another element count.
pub fn narrow(dtype: DType, shape: &[usize], values: Vec<f64>) -> Result<Tensor, OpError> {
    macro_rules! to {
        ($t:ty, $f:expr) => {{
            let f: fn(f64) -> $t = $f;
            Tensor::new(shape, values.into_iter().map(f).collect::<Vec<$t>>())?
        }};
    }
    Ok(match dtype {
        DType::F32 => to!(f32, |v| v as f32),
        DType::F64 => Tensor::new(shape, values)?,
        DType::F16 => to!(f16, f16_from_f64),
        DType::BF16 => to!(bf16, bf16_from_f64),
        DType::Bool => to!(bool, |v| v != 0.0),
        t => crate::dispatch_int!(t, T => to!(T, |v| v as T), return Err(OpError::type_(format!("does not give {t}")))),
    })
}
