//! CastMap: the values of a map from integers as a matrix of one row: all of them in the order of their keys (DENSE), or each
//! at the column that its key says, with zeros (texts: empty ones) in between (SPARSE).

use super::dict_vectorizer::{map, map_type};
use crate::floats::{narrow, widen};
use crate::{AttrDef, EvalCx, OpDef, OpError, Param, TypeSet};
use planc_tensor::{DType, Dim, Tensor, View};

/// The row of CastMap.
pub const OP: OpDef = OpDef {
    name: "CastMap",
    domain: "ai.onnx.ml",
    types: &[("T1", TypeSet::ALL), ("T2", TypeSet::of(&[DType::String, DType::F32, DType::I64]))],
    inputs: &[Param::req("X", "T1")],
    outputs: &[Param::req("Y", "T2")],
    attrs: &[AttrDef::str("cast_to", "TO_FLOAT"), AttrDef::str("map_form", "DENSE"), AttrDef::int("max_map", 1)],
    infer: |cx| {
        match map_type(cx)? {
            (DType::I64, DType::F32 | DType::String) => {}
            (key, value) => return Err(OpError::type_(format!("does not take map({key},{value})"))),
        }
        let columns = match columns(cx.str("map_form"), cx.int("max_map"))? {
            Some(n) => Dim::from(n),
            None => cx.fresh(0, 1),
        };
        let dtype = target(cx.str("cast_to"))?;
        cx.set_tensor(0, dtype, vec![Dim::from(1i64), columns]);
        Ok(())
    },
    eval: Some(eval),
    ..OpDef::NEW
};

fn target(name: &str) -> Result<DType, OpError> {
    match name {
        "TO_FLOAT" => Ok(DType::F32),
        "TO_INT64" => Ok(DType::I64),
        "TO_STRING" => Ok(DType::String),
        other => Err(OpError::attribute(format!("cast_to is {other:?}"))),
    }
}

/// The number of columns, where the node says it.
fn columns(form: &str, most: i64) -> Result<Option<usize>, OpError> {
    match (form, usize::try_from(most)) {
        ("DENSE", _) => Ok(None),
        ("SPARSE", Ok(n)) if n > 0 => Ok(Some(n)),
        ("SPARSE", _) => Err(OpError::attribute(format!("max_map is {most}"))),
        _ => Err(OpError::attribute(format!("map_form is {form:?}, not DENSE or SPARSE"))),
    }
}

fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>]) -> Result<Vec<Tensor>, OpError> {
    let (map, target) = (map(inputs)?, target(cx.str("cast_to"))?);
    let keys = map.keys().as_slice::<i64>().ok_or_else(|| OpError::type_("the keys are not i64"))?;
    let columns = columns(cx.str("map_form"), cx.int("max_map"))?;
    let shape = [1, columns.unwrap_or(keys.len())];
    let count = cx.reserve(target, &shape)?;
    // Where each value goes.
    let places: Vec<usize> = match columns {
        None => (0..keys.len()).collect(),
        Some(n) => {
            let place = |k: &i64| usize::try_from(*k).ok().filter(|k| *k < n);
            let places = keys.iter().map(place).collect::<Option<_>>();
            places.ok_or_else(|| OpError::value(format!("a key is not in 0..{n}, the columns that max_map gives")))?
        }
    };
    let values = map.values().view();
    let texts = values.as_strings();
    if target == DType::String {
        let mut y = vec![String::new(); count];
        if values.dtype() == DType::String {
            places.iter().zip(texts).for_each(|(at, t)| y[*at].clone_from(t));
        } else {
            places.iter().zip(widen(values)?).for_each(|(at, v)| y[*at] = format!("{v:.6}"));
        }
        return Ok(vec![Tensor::from_strings(shape, y)?]);
    }
    let numbers = match values.dtype() {
        DType::String => {
            let number = |t: &String| t.trim().parse::<f64>();
            let read = texts.iter().map(number).collect::<Result<Vec<_>, _>>();
            read.map_err(|_| OpError::value("a text in the map is not a number"))?
        }
        _ => widen(values)?,
    };
    let mut y = vec![0.0; count];
    places.iter().zip(numbers).for_each(|(at, v)| y[*at] = v);
    Ok(vec![narrow(target, &shape, y)?])
}
