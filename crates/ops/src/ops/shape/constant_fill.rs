//! ConstantFill: an experiment before opset 9, one value in every element. The shape is that of the operand or
//! (`input_as_shape`) its elements, then `extra_shape`.

use crate::indexing::{by_axis, integers};
use crate::{AttrDef, AttrKind, InferCx, OpDef, OpError, Param, TypeSet, operand};
use planc_ir::Attrs;
use planc_tensor::{DType, Dim, Tensor};

/// The row of ConstantFill.
pub const OP: OpDef = OpDef {
    name: "ConstantFill",
    until: 9,
    types: &[("T1", TypeSet::ALL), ("T2", TypeSet::NUMERIC.or(TypeSet::BOOL))],
    inputs: &[Param::opt("input", "T1")],
    outputs: &[Param::req("output", "T2")],
    attrs: &[
        AttrDef::int("dtype", 1),
        AttrDef::optional("extra_shape", AttrKind::Ints),
        AttrDef::int("input_as_shape", 0),
        AttrDef::optional("shape", AttrKind::Ints),
        AttrDef::float("value", 0.0),
    ],
    infer,
    eval: Some(|cx, inputs| {
        let extents = match (operand(inputs, 0).ok(), cx.flag("input_as_shape")) {
            (Some(x), true) => integers(x)?.into_iter().map(|d| usize::try_from(d).ok()).collect(),
            (Some(x), false) => Some(x.shape().to_vec()),
            (None, _) => numbers(cx.attrs(), "shape"),
        };
        let extents = extents.zip(numbers(cx.attrs(), "extra_shape"));
        let (first, extra) = extents.ok_or_else(|| OpError::value("an extent is negative"))?;
        let value = value(cx.int("dtype"), cx.float("value"))?;
        Ok(vec![by_axis(cx, value.view(), [first, extra].concat(), None, |_, _| 0)?])
    }),
    ..OpDef::NEW
};

fn infer(cx: &mut InferCx<'_>) -> Result<(), OpError> {
    let dtype = value(cx.int("dtype"), 0.0)?.dtype();
    let given = |name: &str| {
        let extents = numbers(cx.attrs(), name).ok_or_else(|| OpError::attribute(format!("{name} has a negative")))?;
        Ok::<Vec<Dim>, OpError>(extents.into_iter().map(Dim::from).collect())
    };
    let extra = given("extra_shape")?;
    let first = match (cx.has(0), cx.flag("input_as_shape")) {
        (true, true) => match cx.known(0) {
            Some(dims) => Some(dims),
            None => {
                let rank = cx.shape(0)?.and_then(|s| s.first()).and_then(Dim::as_usize).filter(|r| *r <= 64);
                rank.map(|r| (0..r).map(|i| cx.fresh(0, i)).collect())
            }
        },
        (true, false) => cx.shape(0)?.map(<[Dim]>::to_vec),
        (false, _) => Some(given("shape")?),
    };
    cx.set_shape(0, dtype, first.map(|s| [s, extra].concat()));
    Ok(())
}

/// The extents of an attribute, none without it; `None` when one is negative.
fn numbers(attrs: &Attrs, name: &str) -> Option<Vec<usize>> {
    attrs.ints(name).unwrap_or_default().iter().map(|d| usize::try_from(*d).ok()).collect()
}

/// The value as a scalar of type number `code`.
fn value(code: i64, value: f32) -> Result<Tensor, OpError> {
    let dtype = i32::try_from(code).ok().and_then(DType::from_onnx);
    let dtype = dtype.filter(|t| TypeSet::NUMERIC.has(*t) || *t == DType::Bool);
    let dtype = dtype.ok_or_else(|| OpError::attribute(format!("dtype is {code}")))?;
    crate::floats::narrow(dtype, &[], vec![f64::from(value)])
}
