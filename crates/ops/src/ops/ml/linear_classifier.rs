//! LinearClassifier: a product with constant coefficients plus intercepts; the label of the largest score, and the scores.
//!
//! One score for two labels is taken for the probability of the second, as in onnxruntime.

use super::binarizer::NUMBERS;
use super::scores::{Labels, Pair, PostTransform, infer_classifier, largest, matrix};
use super::tree_ensemble_classifier::LABELS;
use crate::floats::{narrow, widen};
use crate::{AttrDef, AttrKind, EvalCx, OpDef, OpError, Param, TypeSet, operand};
use planc_ir::Attrs;
use planc_tensor::{DType, Tensor, View};

/// The row of LinearClassifier.
pub const OP: OpDef = OpDef {
    name: "LinearClassifier",
    domain: "ai.onnx.ml",
    types: &[("T1", NUMBERS), ("T2", LABELS), ("F", TypeSet::F32)],
    inputs: &[Param::req("X", "T1")],
    outputs: &[Param::req("Y", "T2"), Param::req("Z", "F")],
    attrs: &[
        AttrDef::optional("classlabels_ints", AttrKind::Ints),
        AttrDef::optional("classlabels_strings", AttrKind::Strs),
        AttrDef::required("coefficients", AttrKind::Floats),
        AttrDef::optional("intercepts", AttrKind::Floats),
        // It says how the model was made, and changes nothing.
        AttrDef::int("multi_class", 0),
        AttrDef::str("post_transform", "NONE"),
    ],
    infer: |cx| {
        PostTransform::named(cx.str("post_transform"))?;
        let (labels, targets) = classes(cx.attrs())?;
        let width = if targets == 1 && labels.len() == 2 { 2 } else { targets };
        infer_classifier(cx, labels.dtype(), width)
    },
    eval: Some(eval),
    ..OpDef::NEW
};

/// The labels, and how many scores there are before one is made two.
fn classes(attrs: &Attrs) -> Result<(Labels<'_>, usize), OpError> {
    let labels = Labels::of(attrs, "classlabels_ints");
    let intercepts = attrs.floats("intercepts").unwrap_or_default().len();
    match if intercepts > 0 { intercepts } else { labels.len() } {
        0 => Err(OpError::attribute("there are neither intercepts nor labels")),
        targets => Ok((labels, targets)),
    }
}

fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>]) -> Result<Vec<Tensor>, OpError> {
    let x = operand(inputs, 0)?;
    let (labels, targets) = classes(cx.attrs())?;
    let transform = PostTransform::named(cx.str("post_transform"))?;
    let (rows, width) = matrix(x.shape())?;
    let coefficients = cx.attrs().floats("coefficients").unwrap_or_default();
    if targets.checked_mul(width) != Some(coefficients.len()) {
        let what = format!("{} coefficients do not fit {targets} scores of {width} features", coefficients.len());
        return Err(OpError::attribute(what));
    }
    let intercepts = cx.attrs().floats("intercepts").unwrap_or_default();
    let shape = [rows, if targets == 1 && labels.len() == 2 { 2 } else { targets }];
    let mut scores = Vec::with_capacity(cx.reserve(DType::F64, &shape)?);
    let mut picks = Vec::with_capacity(rows);
    let mut own = vec![0.0; targets];
    let x = widen(x)?;
    for row in 0..rows {
        let row = &x[row * width..][..width];
        for (t, score) in own.iter_mut().enumerate() {
            let weights = &coefficients[t * width..][..width];
            let sum: f64 = row.iter().zip(weights).map(|(a, b)| a * f64::from(*b)).sum();
            *score = sum + f64::from(*intercepts.get(t).unwrap_or(&0.0));
        }
        picks.push(if targets == 1 { usize::from(own[0] > 0.0) } else { largest(&own) });
        if shape[1] > targets {
            scores.extend(Pair::Probability.of(own[0], transform));
        } else {
            transform.run(&mut own);
            scores.extend_from_slice(&own);
        }
    }
    let picked = if targets == 1 { labels.pick_binary(&picks) } else { labels.pick(&picks) };
    Ok(vec![picked?, narrow(DType::F32, &shape, scores)?])
}
