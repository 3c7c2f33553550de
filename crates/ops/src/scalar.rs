//! Numbers of every element type through two exact carriers: integers as `i128`, floats as `f64`.
//!
//! Conversions follow ONNX `Cast`: integers wrap, floats become infinite, floats to integers truncate and saturate
//! (NaN gives 0), anything but zero is `true`.

use crate::OpError;
use crate::minifloat;
use planc_tensor::{Bytes, DType, Element, Tensor, View, bf16, bf16_from_f64, f16, f16_from_f64};

/// A number of any element type, exactly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wide {
    /// An integer or boolean.
    Int(i128),
    /// A float.
    Float(f64),
}

impl Wide {
    /// The number as `f64`; integers round.
    pub fn as_f64(self) -> f64 {
        match self {
            Wide::Int(v) => v as f64,
            Wide::Float(v) => v,
        }
    }
}

/// A Rust type of numbers or booleans.
pub trait Scalar: Element {
    /// The number, exactly.
    fn wide(self) -> Wide;
    /// The nearest number of this type; see the module header.
    fn narrow(v: Wide) -> Self;
}

macro_rules! integers {
    ($($t:ty)*) => {$(
        impl Scalar for $t {
            fn wide(self) -> Wide { Wide::Int(self.into()) }
            fn narrow(v: Wide) -> $t {
                match v {
                    Wide::Int(v) => v as $t,
                    Wide::Float(v) => v as $t,
                }
            }
        }
    )*};
}
integers!(u8 i8 u16 i16 u32 i32 u64 i64);

impl Scalar for bool {
    fn wide(self) -> Wide {
        Wide::Int(self.into())
    }
    fn narrow(v: Wide) -> bool {
        match v {
            Wide::Int(v) => v != 0,
            Wide::Float(v) => v != 0.0,
        }
    }
}

impl Scalar for f32 {
    fn wide(self) -> Wide {
        Wide::Float(self.into())
    }
    fn narrow(v: Wide) -> f32 {
        match v {
            Wide::Int(v) => v as f32,
            Wide::Float(v) => v as f32,
        }
    }
}

impl Scalar for f64 {
    fn wide(self) -> Wide {
        Wide::Float(self)
    }
    fn narrow(v: Wide) -> f64 {
        v.as_f64()
    }
}

impl Scalar for f16 {
    fn wide(self) -> Wide {
        Wide::Float(self.to_f64())
    }
    fn narrow(v: Wide) -> f16 {
        f16_from_f64(f64::narrow(v))
    }
}

impl Scalar for bf16 {
    fn wide(self) -> Wide {
        Wide::Float(self.to_f64())
    }
    fn narrow(v: Wide) -> bf16 {
        bf16_from_f64(f64::narrow(v))
    }
}

/// Runs `$body` with `$t` the Rust type of `$dtype`, for booleans, integers and floats of whole bytes that Rust or
/// `half` has; gives `$other` for others.
#[macro_export]
macro_rules! dispatch_scalar {
    ($dtype:expr, $t:ident => $body:expr, $other:expr) => {
        match $dtype {
            planc_tensor::DType::Bool => {
                type $t = bool;
                $body
            }
            d => $crate::dispatch_numeric!(d, $t => $body, $other),
        }
    };
}

/// `f` of every number of `x`, whatever its element type.
///
/// # Errors
/// For strings and complex numbers.
pub fn numbers<U>(x: View<'_>, f: impl Fn(Wide) -> U) -> Result<Vec<U>, OpError> {
    if let Some(ints) = x.unpack_sub_byte() {
        return Ok(ints.into_iter().map(|v| f(Wide::Int(v.into()))).collect());
    }
    if let Some(format) = minifloat::format(x.dtype()) {
        let decode = |code: u8| f(Wide::Float(format.decode(code)));
        return Ok(if x.dtype() == DType::F4E2M1 {
            (0..x.len()).map(|i| decode((x.bytes()[i / 2] >> (4 * (i % 2))) & 15)).collect()
        } else {
            x.bytes().iter().map(|c| decode(*c)).collect()
        });
    }
    dispatch_scalar!(x.dtype(), T => {
        Ok(crate::elementwise::elements::<T>(x)?.iter().map(|v| f(v.wide())).collect())
    }, Err(OpError::type_(format!("does not take {}", x.dtype()))))
}

/// The numbers of a float or integer tensor as `f64`.
///
/// # Errors
/// For strings and complex numbers.
pub fn floats(x: View<'_>) -> Result<Vec<f64>, OpError> {
    numbers(x, Wide::as_f64)
}

/// How numbers beyond the range of an 8-bit float or exponent are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rounding {
    /// The largest number instead of infinity or NaN.
    pub saturate: bool,
    /// For `f8e8m0`, which has only powers of two.
    pub powers: minifloat::PowerRounding,
}

impl Default for Rounding {
    fn default() -> Rounding {
        Rounding { saturate: true, powers: minifloat::PowerRounding::Up }
    }
}

/// A tensor of `dtype` with these numbers, rounded as ONNX `Cast` does.
///
/// # Errors
/// For strings and complex numbers, or when the count does not fit.
pub fn from_numbers(
    dtype: DType,
    shape: &[usize],
    numbers: impl Iterator<Item = Wide>,
    rounding: Rounding,
) -> Result<Tensor, OpError> {
    if let Some(format) = minifloat::format(dtype) {
        let codes = numbers.map(|v| format.encode(v.as_f64(), rounding)).collect();
        return pack(dtype, shape, codes);
    }
    if matches!(dtype, DType::I4 | DType::U4 | DType::I2 | DType::U2) {
        return pack(dtype, shape, numbers.map(|v| u8::narrow(sub_byte(dtype, v))).collect());
    }
    dispatch_scalar!(dtype, T => Ok(Tensor::new(shape, numbers.map(T::narrow).collect())?),
        Err(OpError::type_(format!("does not give {dtype}"))))
}

/// The integer whose low bits are the code: floats truncate first, then bits wrap.
fn sub_byte(dtype: DType, v: Wide) -> Wide {
    let v = match v {
        Wide::Int(v) => v,
        Wide::Float(v) => v as i128,
    };
    Wide::Int(v & ((1 << dtype.bits()) - 1))
}

/// A tensor of one code per element, packed low bits first.
fn pack(dtype: DType, shape: &[usize], codes: Vec<u8>) -> Result<Tensor, OpError> {
    let bits = dtype.bits();
    let bytes = if bits == 8 {
        codes
    } else {
        let join = |c: &[u8]| c.iter().enumerate().fold(0, |b, (i, c)| b | c << (bits * i));
        codes.chunks(8 / bits).map(join).collect()
    };
    Ok(Tensor::from_bytes(dtype, shape, Bytes::new(bytes))?)
}

/// The least and greatest integer of `dtype`; `None` for others.
pub fn int_range(dtype: DType) -> Option<(i128, i128)> {
    let bits = dtype.bits();
    match dtype {
        t if t.is_unsigned() => Some((0, (1 << bits) - 1)),
        t if t.is_int() => Some((-(1 << (bits - 1)), (1 << (bits - 1)) - 1)),
        _ => None,
    }
}
