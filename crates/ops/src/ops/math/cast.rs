//! Cast: the elements converted to element type `to`. See [`crate::scalar`] for what conversions do.

use crate::cast::{self, convert};
use crate::elementwise::only;
use crate::floats::{narrow, widen};
use crate::{AttrDef, AttrKind, OpDef, OpError, Param, Props, TypeSet, Upgrade, known};
use planc_tensor::DType;

/// The row of Cast.
pub const OP: OpDef = OpDef {
    name: "Cast",
    types: &[("T1", cast::TYPES), ("T2", cast::TYPES)],
    inputs: &[Param::req("input", "T1")],
    outputs: &[Param::req("output", "T2")],
    attrs: &[
        AttrDef::required("to", AttrKind::Int),
        AttrDef::int("saturate", 1).since(19),
        AttrDef::str("round_mode", "up").since(24),
        // Before opset 24, floats beyond the range of a 4-bit type became its nearest number.
        AttrDef::int("clamps", 0).internal(),
    ],
    upgrades: &[
        Upgrade {
            to: 6,
            // Opset 1 names the type.
            step: |cx| {
                if let Some(name) = cx.attrs.str("to") {
                    let to = NAMES.iter().find(|(n, _)| *n == name).map(|(_, t)| t.onnx());
                    let to = to.ok_or_else(|| OpError::attribute(format!("to is {name:?}, not a type")))?;
                    cx.attrs.set("to", i64::from(to));
                }
                Ok(())
            },
        },
        Upgrade {
            to: 24,
            step: |cx| {
                let narrow = [DType::I4, DType::U4, DType::F4E2M1].map(|t| i64::from(t.onnx()));
                if cx.attrs.int("to").is_some_and(|to| narrow.contains(&to)) {
                    cx.attrs.set("clamps", 1i64);
                }
                Ok(())
            },
        },
    ],
    props: Props::ELEMENTWISE,
    infer: |cx| {
        let to = wanted(cx.int("to"))?;
        cast::rounding(cx.int("saturate"), cx.str("round_mode"))?;
        let (from, shape) = (cx.dtype(0)?, cx.shape(0)?.map(<[_]>::to_vec));
        cx.set_shape(0, to, shape);
        if known::holds_extents(to) && (from == DType::Bool || known::holds_extents(from)) {
            known::pass_through(cx);
        }
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let rounding = cast::rounding(cx.int("saturate"), cx.str("round_mode"))?;
        let (x, to) = (only(inputs)?, wanted(cx.int("to"))?);
        if cx.flag("clamps") && TypeSet::FLOAT.has(x.dtype()) {
            let near = clamped(widen(x)?, to);
            return Ok(vec![convert(narrow(DType::F64, x.shape(), near)?.view(), to, rounding)?]);
        }
        Ok(vec![convert(x, to, rounding)?])
    }),
    lower: |cx| wanted(cx.int("to")).map_or(crate::Lowered::Reference, |to| cast::lower(cx, to)),
    ..OpDef::NEW
};

/// The numbers within the range of a 4-bit type. What is no number becomes the largest float, or 0.
fn clamped(mut values: Vec<f64>, to: DType) -> Vec<f64> {
    let (low, high, other) = match to {
        DType::I4 => (-8.0, 7.0, 0.0),
        DType::U4 => (0.0, 15.0, 0.0),
        _ => (-6.0, 6.0, 6.0),
    };
    values.iter_mut().for_each(|v| *v = if v.is_nan() { other } else { v.clamp(low, high) });
    values
}

/// The type with ONNX number `to`, if values can be converted to it.
fn wanted(to: i64) -> Result<DType, OpError> {
    let dtype = i32::try_from(to).ok().and_then(DType::from_onnx).filter(|t| cast::TYPES.has(*t));
    dtype.ok_or_else(|| OpError::attribute(format!("to is {to}, not a type to convert to")))
}

/// The names in `TensorProto.DataType` that opset 1 has.
const NAMES: [(&str, DType); 12] = [
    ("FLOAT", DType::F32),
    ("UINT8", DType::U8),
    ("INT8", DType::I8),
    ("UINT16", DType::U16),
    ("INT16", DType::I16),
    ("INT32", DType::I32),
    ("INT64", DType::I64),
    ("BOOL", DType::Bool),
    ("FLOAT16", DType::F16),
    ("DOUBLE", DType::F64),
    ("UINT32", DType::U32),
    ("UINT64", DType::U64),
];
