//! LinearRegressor: a product with constant coefficients, plus intercepts.

use super::binarizer::NUMBERS;
use super::scores::{PostTransform, matrix, rows};
use crate::floats::{narrow, widen};
use crate::{AttrDef, AttrKind, OpDef, OpError, Param, TypeSet, operand};
use planc_tensor::{DType, Dim};

/// The row of LinearRegressor.
pub const OP: OpDef = OpDef {
    name: "LinearRegressor",
    domain: "ai.onnx.ml",
    types: &[("T", NUMBERS), ("F", TypeSet::F32)],
    inputs: &[Param::req("X", "T")],
    outputs: &[Param::req("Y", "F")],
    attrs: &[
        AttrDef::optional("coefficients", AttrKind::Floats),
        AttrDef::optional("intercepts", AttrKind::Floats),
        AttrDef::str("post_transform", "NONE"),
        AttrDef::int("targets", 1),
    ],
    infer: |cx| {
        let targets = targets(cx.int("targets"))?;
        PostTransform::named(cx.str("post_transform"))?;
        let rows = rows(cx)?;
        cx.set_tensor(0, DType::F32, vec![rows, Dim::from(targets)]);
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let x = operand(inputs, 0)?;
        let targets = targets(cx.int("targets"))?;
        let (rows, width) = matrix(x.shape())?;
        let coefficients = cx.attrs().floats("coefficients").unwrap_or_default();
        let intercepts = cx.attrs().floats("intercepts").unwrap_or_default();
        if targets.checked_mul(width) != Some(coefficients.len())
            || !matches!(intercepts.len(), n if n == 0 || n == targets)
        {
            let what = format!("{} coefficients do not fit {targets} targets of {width} features", coefficients.len());
            return Err(OpError::attribute(what));
        }
        cx.reserve(DType::F64, &[rows, targets])?;
        let v = widen(x)?;
        let mut y = Vec::with_capacity(rows * targets);
        for row in v.chunks(width.max(1)) {
            for t in 0..targets {
                let weights = &coefficients[t * width..][..width];
                let sum: f64 = row.iter().zip(weights).map(|(a, b)| a * f64::from(*b)).sum();
                y.push(sum + f64::from(*intercepts.get(t).unwrap_or(&0.0)));
            }
        }
        let transform = PostTransform::named(cx.str("post_transform"))?;
        y.chunks_mut(targets).for_each(|row| transform.run(row));
        Ok(vec![narrow(DType::F32, &[rows, targets], y)?])
    }),
    ..OpDef::NEW
};

fn targets(n: i64) -> Result<usize, OpError> {
    usize::try_from(n).ok().filter(|n| *n > 0).ok_or_else(|| OpError::attribute(format!("targets is {n}")))
}
