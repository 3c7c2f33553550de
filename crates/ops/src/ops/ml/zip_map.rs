//! ZipMap: a map from class labels to scores for each row of a matrix of scores.

use super::scores::{Labels, matrix};
use crate::{AttrDef, AttrKind, EvalCx, OpDef, OpError, Param, TypeSet, operand};
use planc_ir::{Attrs, Type};
use planc_tensor::{DType, Map, Tensor, Value, View, pack};

/// The row of ZipMap.
pub const OP: OpDef = OpDef {
    name: "ZipMap",
    domain: "ai.onnx.ml",
    types: &[("F", TypeSet::F32), ("T", TypeSet::ALL)],
    inputs: &[Param::req("X", "F")],
    outputs: &[Param::req("Z", "T")],
    attrs: &[
        AttrDef::optional("classlabels_int64s", AttrKind::Ints),
        AttrDef::optional("classlabels_strings", AttrKind::Strs),
    ],
    infer: |cx| {
        let key = labels(cx.attrs())?.dtype();
        cx.set(0, Type::Sequence(Box::new(Type::Map { key, value: DType::F32 })));
        Ok(())
    },
    eval: Some(eval),
    ..OpDef::NEW
};

fn labels(attrs: &Attrs) -> Result<Labels<'_>, OpError> {
    let labels = Labels::of(attrs, "classlabels_int64s");
    if labels.len() == 0 { Err(OpError::attribute("there are no class labels")) } else { Ok(labels) }
}

fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>]) -> Result<Vec<Tensor>, OpError> {
    let x = operand(inputs, 0)?;
    let labels = labels(cx.attrs())?;
    let (_, columns) = matrix(x.shape())?;
    if columns != labels.len() {
        return Err(OpError::shape(format!("there are {columns} scores for {} labels", labels.len())));
    }
    cx.reserve(labels.dtype(), x.shape())?;
    let keys = labels.pick(&(0..columns).collect::<Vec<_>>())?;
    let scores = x.to_vec::<f32>().unwrap_or_default();
    let map = |row: &[f32]| Map::new(&keys, &Tensor::vector(row.to_vec())).map(Value::Map);
    let maps = scores.chunks(columns).map(map).collect::<Result<Vec<_>, _>>();
    let maps = maps.map_err(|e| OpError::attribute(format!("labels make no map: {e}")))?;
    Ok(vec![pack(&Value::Sequence(maps))])
}
