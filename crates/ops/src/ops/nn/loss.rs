//! What the two losses over class indices share: weighted negative log probabilities and their reduction.

use crate::floats::{narrow, widen, widen_opt};
use crate::{AttrDef, AttrKind, EvalCx, InferCx, OpError, operand};
use planc_tensor::{DType, Dim, Tensor, View};

/// Attributes of the losses.
pub(crate) const ATTRS: [AttrDef; 2] =
    [AttrDef::optional("ignore_index", AttrKind::Int), AttrDef::str("reduction", "mean")];

fn reduces(reduction: &str) -> Result<bool, OpError> {
    match reduction {
        "none" => Ok(false),
        "mean" | "sum" => Ok(true),
        other => Err(OpError::attribute(format!("reduction is {other:?}"))),
    }
}

/// Inference of the loss of scores `[N, C, ..]` and targets `[N, ..]`.
///
/// # Errors
/// When the shapes do not fit.
pub(crate) fn infer(cx: &mut InferCx<'_>) -> Result<(), OpError> {
    let dtype = cx.dtype(0)?;
    let reduced = reduces(cx.str("reduction"))?;
    let (scores, target) = (cx.shape(0)?, cx.shape(1)?);
    if let (Some(scores), Some(target)) = (scores, target) {
        if scores.len() < 2 || target.len() + 1 != scores.len() {
            return Err(OpError::shape(format!("scores of rank {}, targets of rank {}", scores.len(), target.len())));
        }
        let positions = scores.iter().enumerate().filter(|(i, _)| *i != 1).map(|(_, d)| d);
        positions
            .zip(target)
            .try_for_each(|(a, b)| crate::convolve::agree(a, b, "scores and targets differ in extent"))?;
    }
    let shape = if reduced { Some(vec![]) } else { target.map(<[Dim]>::to_vec) };
    cx.set_shape(0, dtype, shape);
    Ok(())
}

/// The loss of `log` probabilities of the shape of operand 0.
///
/// # Errors
/// When shapes do not fit or a target is no class.
pub(crate) fn loss(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>], log: &[f64]) -> Result<Tensor, OpError> {
    let (scores, target) = (operand(inputs, 0)?, operand(inputs, 1)?);
    let [n, c, rest @ ..] = scores.shape() else { return Err(OpError::shape("scores without classes")) };
    let plane: usize = rest.iter().product();
    let wanted = target.to_i64().ok_or_else(|| OpError::type_("targets are not integers"))?;
    if wanted.len() != n * plane {
        return Err(OpError::shape(format!("{} targets for {} positions", wanted.len(), n * plane)));
    }
    let weights = widen_opt(inputs.get(2).copied().flatten())?;
    if weights.as_ref().is_some_and(|w| w.len() != *c) {
        return Err(OpError::shape(format!("the weights are not one for each of {c} classes")));
    }
    let ignored = cx.opt_int("ignore_index");
    let (mut losses, mut total) = (Vec::with_capacity(wanted.len()), 0.0);
    for (i, t) in wanted.iter().enumerate() {
        if ignored == Some(*t) {
            losses.push(0.0);
            continue;
        }
        let class = usize::try_from(*t).ok().filter(|t| t < c);
        let class = class.ok_or_else(|| OpError::value(format!("target {t} is not one of {c} classes")))?;
        let weight = weights.as_ref().map_or(1.0, |w| w[class]);
        total += weight;
        losses.push(-weight * log[(i / plane * c + class) * plane + i % plane]);
    }
    let sum = |v: &[f64]| v.iter().sum::<f64>();
    match cx.str("reduction") {
        "none" => narrow(scores.dtype(), target.shape(), losses),
        "sum" => narrow(scores.dtype(), &[], vec![sum(&losses)]),
        _ => narrow(scores.dtype(), &[], vec![sum(&losses) / total]),
    }
}

/// Logarithms of the softmax of operand 0 over its classes.
///
/// # Errors
/// When it has none.
pub(crate) fn log_softmax(scores: View<'_>) -> Result<Vec<f64>, OpError> {
    let [n, c, rest @ ..] = scores.shape() else { return Err(OpError::shape("scores without classes")) };
    let plane: usize = rest.iter().product();
    let mut v = widen(scores)?;
    for i in 0..n * plane {
        let at = |k: usize| (i / plane * c + k) * plane + i % plane;
        let most = (0..*c).map(|k| v[at(k)]).fold(f64::NEG_INFINITY, f64::max);
        let log = most + (0..*c).map(|k| (v[at(k)] - most).exp()).sum::<f64>().ln();
        (0..*c).for_each(|k| v[at(k)] -= log);
    }
    Ok(v)
}

/// The index types of targets.
pub(crate) const TARGETS: crate::TypeSet = crate::TypeSet::of(&[DType::I32, DType::I64]);
