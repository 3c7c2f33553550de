//! DictVectorizer: the values of a map, in the order of a vocabulary of its keys. Keys that are not in the map give 0 (texts:
//! an empty one), keys that are not in the vocabulary are left out.

use crate::{AttrDef, AttrKind, EvalCx, InferCx, OpDef, OpError, Param, TypeSet};
use planc_ir::{Attrs, Type};
use planc_tensor::{DType, Dim, Element, Map, Tensor, Value, View};

/// The row of DictVectorizer.
pub const OP: OpDef = OpDef {
    name: "DictVectorizer",
    domain: "ai.onnx.ml",
    types: &[("T1", TypeSet::ALL), ("T2", TypeSet::of(&[DType::I64, DType::F32, DType::F64, DType::String]))],
    inputs: &[Param::req("X", "T1")],
    outputs: &[Param::req("Y", "T2")],
    attrs: &[
        AttrDef::optional("int64_vocabulary", AttrKind::Ints),
        AttrDef::optional("string_vocabulary", AttrKind::Strs),
    ],
    infer: |cx| {
        let (key, value) = map_type(cx)?;
        let words = vocabulary(cx.attrs())?;
        if words.dtype() != key {
            let what = format!("the vocabulary is of {}, the map's keys are {key}", words.dtype());
            return Err(OpError::type_(what));
        }
        cx.set_tensor(0, value, vec![Dim::from(1i64), Dim::from(words.len())]);
        Ok(())
    },
    eval: Some(eval),
    ..OpDef::NEW
};

/// The types of keys and values of operand 0.
///
/// # Errors
/// When it is no map.
pub(super) fn map_type(cx: &InferCx<'_>) -> Result<(DType, DType), OpError> {
    match cx.ty(0)? {
        Type::Map { key, value } => Ok((*key, *value)),
        other => Err(OpError::type_(format!("operand 0 is {other}, not a map"))),
    }
}

/// Operand 0.
///
/// # Errors
/// When it is no map.
pub(super) fn map(inputs: &[Option<View<'_>>]) -> Result<Map, OpError> {
    match crate::sequences::value(inputs, 0)? {
        Value::Map(map) => Ok(map),
        _ => Err(OpError::type_("operand 0 is not a map")),
    }
}

fn vocabulary(attrs: &Attrs) -> Result<Tensor, OpError> {
    match (attrs.ints("int64_vocabulary"), attrs.strs("string_vocabulary")) {
        (_, Some(texts @ [_, ..])) => Ok(Tensor::from_strings([texts.len()], texts.to_vec())?),
        (Some(numbers @ [_, ..]), _) => Ok(Tensor::vector(numbers.to_vec())),
        _ => Err(OpError::attribute("there is no vocabulary")),
    }
}

fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>]) -> Result<Vec<Tensor>, OpError> {
    let (map, words) = (map(inputs)?, vocabulary(cx.attrs())?);
    let (keys, words) = (map.keys().view(), words.view());
    // Keys ascend.
    let at: Vec<Option<usize>> = match (keys.as_slice::<i64>(), words.as_slice::<i64>()) {
        (Some(keys), Some(words)) => words.iter().map(|w| keys.binary_search(w).ok()).collect(),
        (None, None) => words.as_strings().iter().map(|w| keys.as_strings().binary_search(w).ok()).collect(),
        _ => return Err(OpError::type_("the vocabulary and the keys are of different types")),
    };
    let shape = [1, at.len()];
    let (values, dtype) = (map.values().view(), map.values().dtype());
    cx.reserve(dtype, &shape)?;
    fn picked<T: Element + Default>(values: View<'_>, at: &[Option<usize>]) -> Result<Tensor, OpError> {
        let values = values.to_vec::<T>().unwrap_or_default();
        Ok(Tensor::new([1, at.len()], at.iter().map(|i| i.map_or(T::default(), |i| values[i])).collect())?)
    }
    Ok(vec![match dtype {
        DType::F32 => picked::<f32>(values, &at)?,
        DType::F64 => picked::<f64>(values, &at)?,
        DType::I64 => picked::<i64>(values, &at)?,
        _ => {
            let text = |i: &Option<usize>| i.map_or(String::new(), |i| values.as_strings()[i].clone());
            Tensor::from_strings(shape, at.iter().map(text).collect())?
        }
    }])
}
