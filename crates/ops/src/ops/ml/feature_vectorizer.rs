//! FeatureVectorizer: operands side by side as one matrix of f32. `inputdimensions` says how many features of each count:
//! missing ones are 0, others are left out.

use super::binarizer::NUMBERS;
use super::scores::matrix;
use crate::floats::{narrow, widen};
use crate::{AttrDef, AttrKind, EvalCx, InferCx, OpDef, OpError, Param, TypeSet, operand};
use planc_tensor::{DType, Dim, Tensor, View};

/// The row of FeatureVectorizer.
pub const OP: OpDef = OpDef {
    name: "FeatureVectorizer",
    domain: "ai.onnx.ml",
    types: &[("T1", NUMBERS), ("F", TypeSet::F32)],
    inputs: &[Param::variadic("X", "T1")],
    outputs: &[Param::req("Y", "F")],
    attrs: &[AttrDef::optional("inputdimensions", AttrKind::Ints)],
    infer,
    eval: Some(eval),
    ..OpDef::NEW
};

/// How many features of operand `i` count, if the node says so.
fn wanted(dimensions: Option<&[i64]>, i: usize) -> Result<Option<usize>, OpError> {
    let Some(list) = dimensions.filter(|d| !d.is_empty()) else { return Ok(None) };
    let n = list.get(i).and_then(|n| usize::try_from(*n).ok());
    n.map(Some).ok_or_else(|| OpError::attribute(format!("inputdimensions says nothing about operand {i}")))
}

fn infer(cx: &mut InferCx<'_>) -> Result<(), OpError> {
    let (mut rows, mut width) = (None, Dim::from(0i64));
    for i in 0..cx.input_count() {
        let features = match cx.shape(i)? {
            Some([n, f]) => {
                rows.get_or_insert_with(|| n.clone());
                f.clone()
            }
            Some([f]) => {
                rows.get_or_insert_with(|| Dim::from(1i64));
                f.clone()
            }
            Some(s) => return Err(OpError::shape(format!("operand {i} has {} axes, it is not a matrix", s.len()))),
            None => cx.fresh(0, 1 + i),
        };
        width = width + wanted(cx.ints("inputdimensions"), i)?.map_or(features, Dim::from);
    }
    let rows = rows.unwrap_or_else(|| cx.fresh(0, 0));
    cx.set_tensor(0, DType::F32, vec![rows, width]);
    Ok(())
}

fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>]) -> Result<Vec<Tensor>, OpError> {
    let mut parts = Vec::with_capacity(inputs.len());
    let (mut rows, mut width) = (None, 0usize);
    for i in 0..inputs.len() {
        let x = operand(inputs, i)?;
        let (n, features) = matrix(x.shape())?;
        if *rows.get_or_insert(n) != n {
            return Err(OpError::shape(format!("operand {i} has {n} rows, others have another number")));
        }
        let wanted = wanted(cx.ints("inputdimensions"), i)?.unwrap_or(features);
        width = width.saturating_add(wanted);
        parts.push((widen(x)?, features, wanted));
    }
    let shape = [rows.unwrap_or(0), width];
    let mut y = Vec::with_capacity(cx.reserve(DType::F64, &shape)?);
    for row in 0..shape[0] {
        for (x, features, wanted) in &parts {
            let own = &x[row * features..][..*features.min(wanted)];
            y.extend_from_slice(own);
            y.extend(std::iter::repeat_n(0.0, wanted - own.len()));
        }
    }
    Ok(vec![narrow(DType::F32, &shape, y)?])
}
