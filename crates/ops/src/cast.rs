//! Conversion of whole tensors between element types, strings included.

use crate::elementwise::elements;
use crate::minifloat::PowerRounding;
use crate::scalar::{Rounding, Scalar, Wide, from_numbers, numbers};
use crate::{LowerCx, Lowered, OpError, TypeSet};
use planc_kir::{Expr, ExprBuilder, Kernel};
use planc_tensor::{DType, Tensor, View};

/// The types that convert to each other: all but complex numbers.
pub const TYPES: TypeSet = TypeSet::NUMERIC
    .or(TypeSet::FLOAT8)
    .or(TypeSet::BOOL)
    .or(TypeSet::STRING)
    .or(TypeSet::of(&[DType::I4, DType::U4, DType::I2, DType::U2, DType::F4E2M1, DType::F8E8M0]));

/// The rounding that the attributes `saturate` and `round_mode` ask for.
///
/// # Errors
/// For an unknown mode.
pub fn rounding(saturate: i64, round_mode: &str) -> Result<Rounding, OpError> {
    let powers = match round_mode {
        "up" => PowerRounding::Up,
        "down" => PowerRounding::Down,
        "nearest" => PowerRounding::Nearest,
        other => return Err(OpError::attribute(format!("round_mode is {other:?}, not up, down or nearest"))),
    };
    Ok(Rounding { saturate: saturate != 0, powers })
}

/// `x` with its elements converted to `to`.
///
/// # Errors
/// When a string is not a number; for complex numbers.
pub fn convert(x: View<'_>, to: DType, rounding: Rounding) -> Result<Tensor, OpError> {
    if x.dtype() == to {
        return Ok(x.to_tensor());
    }
    match (x.dtype(), to) {
        (DType::String, _) => {
            let numbers: Result<Vec<Wide>, OpError> = x.as_strings().iter().map(|s| parse(s, to)).collect();
            from_numbers(to, x.shape(), numbers?.into_iter(), rounding)
        }
        (_, DType::String) => Ok(Tensor::from_strings(x.shape(), print(x)?)?),
        (from, _) => crate::dispatch_scalar!(from, T => {
            from_numbers(to, x.shape(), elements::<T>(x)?.iter().map(|v| v.wide()), rounding)
        }, from_numbers(to, x.shape(), numbers(x, |v| v)?.into_iter(), rounding)),
    }
}

/// The number that `text` is: an integer where integers are asked for, else a float.
fn parse(text: &str, to: DType) -> Result<Wide, OpError> {
    let text = text.trim();
    if to.is_int()
        && let Ok(v) = text.parse::<i128>()
    {
        return Ok(Wide::Int(v));
    }
    // Rust reads "inf", "infinity" and "nan" in any case and with a sign, as ONNX wants.
    let number = text.parse::<f64>().map_err(|_| OpError::value(format!("{text:?} is not a number")))?;
    // Decimal digits round once to f32, not by way of f64.
    match (to, text.parse::<f32>()) {
        (DType::F32, Ok(v)) => Ok(Wide::Float(v.into())),
        _ => Ok(Wide::Float(number)),
    }
}

/// The shortest decimal digits that give the number back.
fn print(x: View<'_>) -> Result<Vec<String>, OpError> {
    if x.dtype() == DType::F32 {
        return Ok(elements::<f32>(x)?
            .iter()
            .map(|v| decimal(v.is_nan(), v.is_infinite(), *v > 0.0, v.to_string()))
            .collect());
    }
    let text = |v: Wide| match v {
        Wide::Int(v) if x.dtype() == DType::Bool => (if v == 0 { "False" } else { "True" }).to_string(),
        Wide::Int(v) => v.to_string(),
        Wide::Float(v) if x.dtype() == DType::F64 => decimal(v.is_nan(), v.is_infinite(), v > 0.0, v.to_string()),
        Wide::Float(v) => decimal(v.is_nan(), v.is_infinite(), v > 0.0, (v as f32).to_string()),
    };
    numbers(x, text)
}

fn decimal(nan: bool, infinite: bool, positive: bool, digits: String) -> String {
    match (nan, infinite, positive) {
        (true, ..) => "NaN".into(),
        (_, true, true) => "INF".into(),
        (_, true, false) => "-INF".into(),
        _ => digits,
    }
}

/// A `Map` that converts operand 0, where programs compute with both types.
pub fn lower(cx: &LowerCx<'_>, to: DType) -> Lowered {
    let computes = |t: DType| t == DType::Bool || TypeSet::NUMERIC.has(t);
    let Some(from) = cx.dtype(0).ok().filter(|t| computes(*t) && computes(to)) else { return Lowered::Reference };
    let program = if from == to {
        Expr::identity(to)
    } else {
        let mut b = ExprBuilder::new(&[from]);
        let x = b.arg(0);
        let y = b.cast(to, x);
        b.finish(y)
    };
    Lowered::kernel(Kernel::Map(program), 1)
}
