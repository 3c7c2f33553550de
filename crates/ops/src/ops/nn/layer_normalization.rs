//! LayerNormalization: (x - mean) / sqrt(variance + epsilon) * scale + bias over all axes from `axis` on.

use crate::floats::{narrow, widen};
use crate::normalize::{apply, normalize};
use crate::{AttrDef, EvalCx, InferCx, LowerCx, Lowered, OpDef, OpError, Param, TypeSet, normal_axis, operand};
use planc_kir::{Kernel, Norm, NormKind};
use planc_tensor::{DType, Dim, Tensor, View};

/// The row of LayerNormalization.
pub const OP: OpDef = OpDef {
    name: "LayerNormalization",
    // Exporters wrote the operator into models of opsets before 17; its definition never changed.
    since: 1,
    types: &[("T", TypeSet::FLOAT), ("U", TypeSet::FLOAT)],
    inputs: &[Param::req("X", "T"), Param::req("Scale", "T"), Param::opt("B", "T")],
    outputs: &[Param::req("Y", "T"), Param::opt("Mean", "U"), Param::opt("InvStdDev", "U")],
    attrs: &[AttrDef::int("axis", -1), AttrDef::float("epsilon", 1e-5), AttrDef::int("stash_type", 1)],
    infer: |cx| {
        let ty = cx.tensor(0)?.clone();
        let stash = stash_type(cx)?;
        let axis = match ty.rank() {
            Some(rank) => Some(cx.axis("axis", rank)?),
            None => None,
        };
        let kept = ty.shape.as_ref().zip(axis).map(|(s, axis)| statistics_shape(s, axis, Dim::from(1i64)));
        cx.set_shape(1, stash, kept.clone());
        cx.set_shape(2, stash, kept);
        cx.set(0, ty);
        Ok(())
    },
    eval: Some(|cx, inputs| eval(cx, inputs, true)),
    lower: |cx| lower(cx, |axis| NormKind::Layer { axis }),
    ..OpDef::NEW
};

/// `shape` with 1 from `axis` on.
fn statistics_shape<T: Clone>(shape: &[T], axis: usize, one: T) -> Vec<T> {
    shape.iter().enumerate().map(|(i, d)| if i < axis { d.clone() } else { one.clone() }).collect()
}

/// The type that statistics are computed and given in.
///
/// # Errors
/// When `stash_type` is no float type.
pub(crate) fn stash_type(cx: &InferCx<'_>) -> Result<DType, OpError> {
    let code = cx.int("stash_type");
    let found = i32::try_from(code).ok().and_then(DType::from_onnx).filter(|t| TypeSet::FLOAT.has(*t));
    found.ok_or_else(|| OpError::attribute(format!("stash_type is {code}")))
}

/// Evaluates layer (`centred`) or root-mean-square normalisation: result, mean, inverse deviation.
///
/// # Errors
/// When parameters do not fit.
pub(crate) fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>], centred: bool) -> Result<Vec<Tensor>, OpError> {
    let x = operand(inputs, 0)?;
    let axis = normal_axis(cx.int("axis"), x.rank())?;
    let mut y = widen(x)?;
    let len = x.shape()[axis..].iter().product();
    let moments = normalize(&mut y, len, f64::from(cx.float("epsilon")), centred);
    let scale = operand(inputs, 1)?;
    apply(&mut y, x.shape(), (&widen(scale)?, scale.shape()), |x, p| x * p)?;
    if let Some(bias) = inputs.get(2).copied().flatten() {
        apply(&mut y, x.shape(), (&widen(bias)?, bias.shape()), |x, p| x + p)?;
    }
    let mut results = vec![narrow(cx.output_dtype(0).unwrap_or(x.dtype()), x.shape(), y)?];
    let shape = statistics_shape(x.shape(), axis, 1);
    let groups: usize = shape.iter().product();
    for i in 1..cx.output_count().min(3) {
        let of = |m: &crate::normalize::Moments| if i == 1 { m.mean } else { m.inverse };
        let mut v: Vec<f64> = moments.iter().map(of).collect();
        v.resize(groups, f64::NAN);
        results.push(narrow(cx.output_dtype(i)?, &shape, v)?);
    }
    Ok(results)
}

/// Lowering to `Norm` where only the first result is asked for.
pub(crate) fn lower(cx: &LowerCx<'_>, kind: fn(usize) -> NormKind) -> Lowered {
    let rank = cx.shape(0).ok().flatten().map(<[Dim]>::len);
    let same = cx.output(0).is_ok_and(|t| cx.dtype(0) == Ok(t.dtype));
    let only_first = cx.output(1).is_err() && cx.output(2).is_err();
    match rank.and_then(|r| cx.axis("axis", r).ok()) {
        Some(axis) if same && only_first => {
            let norm = Norm { kind: kind(axis), epsilon: cx.float("epsilon") };
            Lowered::kernel(Kernel::Norm(norm), cx.input_count())
        }
        _ => Lowered::Reference,
    }
}
