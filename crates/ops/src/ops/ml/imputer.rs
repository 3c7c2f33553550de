//! Imputer: one value (or NaN) replaced by another, which each column may have of its own.

use super::binarizer::NUMBERS;
use crate::floats::{narrow, widen};
use crate::{AttrDef, AttrKind, OpDef, OpError, Param, operand};

/// The row of Imputer.
pub const OP: OpDef = OpDef {
    name: "Imputer",
    domain: "ai.onnx.ml",
    types: &[("T", NUMBERS)],
    inputs: &[Param::req("X", "T")],
    outputs: &[Param::req("Y", "T")],
    attrs: &[
        AttrDef::optional("imputed_value_floats", AttrKind::Floats),
        AttrDef::optional("imputed_value_int64s", AttrKind::Ints),
        AttrDef::float("replaced_value_float", 0.0),
        AttrDef::int("replaced_value_int64", 0),
    ],
    infer: crate::elementwise::infer_same,
    eval: Some(|cx, inputs| {
        let x = operand(inputs, 0)?;
        let floats = cx.attrs().floats("imputed_value_floats").unwrap_or_default();
        let ints = cx.ints("imputed_value_int64s").unwrap_or_default();
        let (values, replaced): (Vec<f64>, f64) = match floats.is_empty() {
            false => (floats.iter().map(|v| f64::from(*v)).collect(), f64::from(cx.float("replaced_value_float"))),
            true => (ints.iter().map(|v| *v as f64).collect(), cx.int("replaced_value_int64") as f64),
        };
        let columns = x.shape().last().copied().unwrap_or(1);
        if values.len() != 1 && values.len() != columns {
            return Err(OpError::attribute(format!("{} values for {columns} columns", values.len())));
        }
        let value = |i: usize| values[if values.len() == 1 { 0 } else { i % columns }];
        let hit = |v: f64| v == replaced || v.is_nan() && replaced.is_nan();
        let y = widen(x)?.into_iter().enumerate().map(|(i, v)| if hit(v) { value(i) } else { v }).collect();
        Ok(vec![narrow(x.dtype(), x.shape(), y)?])
    }),
    ..OpDef::NEW
};
