//! What operators of sequences and optionals share: their types, and reading and giving packed values.
//!
//! The types of elements are joined, so elements whose extents differ have a symbol there that stands for several numbers.
//! What leaves a sequence therefore gets symbols of its own ([`element`]).

use crate::cx::InferCx;
use crate::error::OpError;
use planc_ir::{TensorType, Type};
use planc_tensor::{DType, Dim, Tensor, Value, View, pack, unpack};

/// The type of the elements of sequence operand `i`.
///
/// # Errors
/// When it is no sequence.
pub(crate) fn element_type<'a>(cx: &InferCx<'a>, i: usize) -> Result<&'a Type, OpError> {
    match cx.ty(i)? {
        Type::Sequence(t) => Ok(t),
        other => Err(OpError::type_(format!("operand {i} is {other}, not a sequence"))),
    }
}

/// The type of one element as result `i`: extents that may differ from element to element are fresh.
pub(crate) fn element(cx: &InferCx<'_>, i: usize, ty: &Type) -> Type {
    match ty {
        Type::Tensor(t) => {
            let own = |(axis, d): (usize, &Dim)| if d.as_const().is_some() { d.clone() } else { cx.fresh(i, axis) };
            let shape = t.shape.as_ref().map(|s| s.iter().enumerate().map(own).collect());
            TensorType { shape, ..t.clone() }.into()
        }
        other => other.clone(),
    }
}

/// The type that holds both elements: extents that differ stand for several numbers.
///
/// # Errors
/// When element types or kinds differ.
pub(crate) fn join(cx: &InferCx<'_>, a: &Type, b: &Type) -> Result<Type, OpError> {
    crate::ops::control::body::join(a, b, &|axis| cx.fresh(0, axis))
}

/// Operand `i` as a sequence of tensors.
///
/// # Errors
/// When it is none.
pub(crate) fn tensors(inputs: &[Option<View<'_>>], i: usize) -> Result<Vec<Tensor>, OpError> {
    let tensor = |v: Value| match v {
        Value::Tensor(t) => Ok(t),
        _ => Err(OpError::type_("an element is not a tensor")),
    };
    match value(inputs, i)? {
        Value::Sequence(values) => values.into_iter().map(tensor).collect(),
        _ => Err(OpError::type_(format!("operand {i} is not a sequence"))),
    }
}

/// Packed operand `i`.
///
/// # Errors
/// When it is missing or not packed.
pub(crate) fn value(inputs: &[Option<View<'_>>], i: usize) -> Result<Value, OpError> {
    unpack(crate::operand(inputs, i)?).map_err(|e| OpError::type_(format!("operand {i} is {e}")))
}

/// A sequence as the only result.
pub(crate) fn packed(tensors: Vec<Tensor>) -> Vec<Tensor> {
    vec![pack(&Value::Sequence(tensors.into_iter().map(Value::Tensor).collect()))]
}

/// The position that operand `i` says, from the end where negative, at most `last`; `default` without the operand.
///
/// # Errors
/// When it is not one integer, or out of range for `count` elements.
pub(crate) fn position(
    inputs: &[Option<View<'_>>],
    i: usize,
    (count, last): (usize, usize),
    default: usize,
) -> Result<usize, OpError> {
    let Some(p) = inputs.get(i).copied().flatten() else { return Ok(default) };
    let p = p.to_i64().filter(|p| p.len() == 1).ok_or_else(|| OpError::shape("the position is not one integer"))?[0];
    let at = if p < 0 { p.checked_add(count as i64) } else { Some(p) };
    let at = at.and_then(|p| usize::try_from(p).ok()).filter(|p| *p <= last);
    at.ok_or_else(|| OpError::value(format!("position {p} is out of range for a sequence of {count}")))
}

/// The type written as `text`, without its extents.
///
/// # Errors
/// When it is none.
pub(crate) fn parse(text: &str) -> Result<Type, OpError> {
    if let Some(rest) = text.strip_prefix("seq(") {
        return Ok(Type::Sequence(Box::new(parse(rest)?)));
    }
    if let Some(rest) = text.strip_prefix("optional(") {
        return Ok(Type::Optional(Box::new(parse(rest)?)));
    }
    let dtype = |name: &str| DType::from_name(name).ok_or_else(|| OpError::attribute(format!("{text:?} is no type")));
    if let Some((key, value)) = text.strip_prefix("map(").and_then(|rest| rest.split_once(',')) {
        return Ok(Type::Map { key: dtype(key)?, value: dtype(value.trim_end_matches(')'))? });
    }
    let name = text.split('[').next().unwrap_or_default();
    Ok(TensorType::unranked(dtype(name)?).into())
}
