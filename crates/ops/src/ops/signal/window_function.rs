//! What the window operators share: a size, an element type, and a function of the phase.

use crate::floats::narrow;
use crate::ops::signal::dft::{known_scalar, scalar};
use crate::{AttrDef, EvalCx, InferCx, OpError, TypeSet, operand};
use planc_tensor::{DType, Tensor, View};

/// Attributes of window operators.
pub(crate) const ATTRS: [AttrDef; 2] = [AttrDef::int("output_datatype", 1), AttrDef::int("periodic", 1)];

/// The element type that `output_datatype` says.
///
/// # Errors
/// When it is not numeric.
pub(crate) fn output_datatype(code: i64) -> Result<DType, OpError> {
    let found = i32::try_from(code).ok().and_then(DType::from_onnx).filter(|t| TypeSet::NUMERIC.has(*t));
    found.ok_or_else(|| OpError::attribute(format!("output_datatype is {code}")))
}

/// Inference.
pub(crate) fn infer(cx: &mut InferCx<'_>) -> Result<(), OpError> {
    let dtype = output_datatype(cx.int("output_datatype"))?;
    let n = known_scalar(cx, 0).unwrap_or_else(|| cx.fresh(0, 0));
    cx.set_tensor(0, dtype, vec![n]);
    Ok(())
}

/// Evaluates `f` of the phase: 0 at the first element, 2 pi one past the last (periodic) or at the last.
pub(crate) fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>], f: fn(f64) -> f64) -> Result<Vec<Tensor>, OpError> {
    let dtype = output_datatype(cx.int("output_datatype"))?;
    let n = scalar(operand(inputs, 0)?, "size")?;
    let n = usize::try_from(n).map_err(|_| OpError::value(format!("size is {n}")))?;
    cx.reserve(DType::F64, &[n])?;
    let period = if cx.flag("periodic") { n } else { n.saturating_sub(1) }.max(1) as f64;
    let v = (0..n).map(|i| f(2.0 * std::f64::consts::PI * i as f64 / period)).collect();
    Ok(vec![narrow(dtype, &[n], v)?])
}
