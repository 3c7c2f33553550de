//! Scaler: (x - offset) * scale, with one number for all columns or one for each.

use super::binarizer::NUMBERS;
use crate::floats::{narrow, widen};
use crate::{AttrDef, AttrKind, OpDef, OpError, Param, TypeSet, operand};
use planc_tensor::DType;

/// The row of Scaler.
pub const OP: OpDef = OpDef {
    name: "Scaler",
    domain: "ai.onnx.ml",
    types: &[("T", NUMBERS), ("F", TypeSet::F32)],
    inputs: &[Param::req("X", "T")],
    outputs: &[Param::req("Y", "F")],
    attrs: &[AttrDef::optional("offset", AttrKind::Floats), AttrDef::optional("scale", AttrKind::Floats)],
    infer: |cx| {
        let shape = cx.shape(0)?.map(<[_]>::to_vec);
        cx.set_shape(0, DType::F32, shape);
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let x = operand(inputs, 0)?;
        let columns = x.shape().last().copied().unwrap_or(1);
        let column = |name: &str, default: f64| {
            let v = cx.attrs().floats(name).unwrap_or_default();
            match v.len() {
                0 => Ok(vec![default]),
                n if n == 1 || n == columns => Ok(v.iter().map(|v| f64::from(*v)).collect()),
                n => Err(OpError::attribute(format!("{name} has {n} numbers for {columns} columns"))),
            }
        };
        let (offset, scale) = (column("offset", 0.0)?, column("scale", 1.0)?);
        let of = |v: &[f64], i: usize| v[if v.len() == 1 { 0 } else { i % columns }];
        let y = widen(x)?.into_iter().enumerate().map(|(i, v)| (v - of(&offset, i)) * of(&scale, i)).collect();
        Ok(vec![narrow(DType::F32, x.shape(), y)?])
    }),
    ..OpDef::NEW
};
