//! CategoryMapper: texts to the integers of their categories and back, with a default for what is in no category.

use super::tree_ensemble_classifier::LABELS;
use crate::{AttrDef, AttrKind, EvalCx, OpDef, OpError, Param, operand};
use planc_ir::Attrs;
use planc_tensor::{DType, Tensor, View};
use std::collections::HashMap;

/// The row of CategoryMapper.
pub const OP: OpDef = OpDef {
    name: "CategoryMapper",
    domain: "ai.onnx.ml",
    types: &[("T1", LABELS), ("T2", LABELS)],
    inputs: &[Param::req("X", "T1")],
    outputs: &[Param::req("Y", "T2")],
    attrs: &[
        AttrDef::optional("cats_int64s", AttrKind::Ints),
        AttrDef::optional("cats_strings", AttrKind::Strs),
        AttrDef::int("default_int64", -1),
        AttrDef::str("default_string", "_Unused"),
    ],
    infer: |cx| {
        categories(cx.attrs())?;
        let dtype = if cx.dtype(0)? == DType::String { DType::I64 } else { DType::String };
        let shape = cx.shape(0)?.map(<[_]>::to_vec);
        cx.set_shape(0, dtype, shape);
        Ok(())
    },
    eval: Some(eval),
    ..OpDef::NEW
};

fn categories(attrs: &Attrs) -> Result<(&[i64], &[String]), OpError> {
    let (numbers, texts) =
        (attrs.ints("cats_int64s").unwrap_or_default(), attrs.strs("cats_strings").unwrap_or_default());
    match numbers.len() == texts.len() {
        true => Ok((numbers, texts)),
        false => Err(OpError::attribute(format!("there are {} integers and {} texts", numbers.len(), texts.len()))),
    }
}

fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>]) -> Result<Vec<Tensor>, OpError> {
    let x = operand(inputs, 0)?;
    let (numbers, texts) = categories(cx.attrs())?;
    // Of repeated categories the last counts.
    match x.as_slice::<i64>() {
        Some(x_numbers) => {
            cx.reserve(DType::String, x.shape())?;
            let table: HashMap<i64, &String> = numbers.iter().copied().zip(texts).collect();
            let text = |v: &i64| table.get(v).map_or_else(|| cx.str("default_string").to_owned(), |t| (*t).clone());
            Ok(vec![Tensor::from_strings(x.shape(), x_numbers.iter().map(text).collect())?])
        }
        None => {
            let table: HashMap<&str, i64> = texts.iter().map(String::as_str).zip(numbers.iter().copied()).collect();
            let number = |t: &String| table.get(t.as_str()).copied().unwrap_or(cx.int("default_int64"));
            Ok(vec![Tensor::new(x.shape(), x.as_strings().iter().map(number).collect::<Vec<i64>>())?])
        }
    }
}
