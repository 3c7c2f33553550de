//! OneHotEncoder: a new last axis with 1 at the category that an element is. Other elements give zeros, or (`zeros = 0`)
//! are an error.

use crate::floats::widen;
use crate::{AttrDef, AttrKind, EvalCx, OpDef, OpError, Param, TypeSet, operand};
use planc_ir::Attrs;
use planc_tensor::{DType, Dim, Tensor, View};

/// The row of OneHotEncoder.
pub const OP: OpDef = OpDef {
    name: "OneHotEncoder",
    domain: "ai.onnx.ml",
    types: &[("T", TypeSet::of(&[DType::F32, DType::F64, DType::I64, DType::I32, DType::String])), ("F", TypeSet::F32)],
    inputs: &[Param::req("X", "T")],
    outputs: &[Param::req("Y", "F")],
    attrs: &[
        AttrDef::optional("cats_int64s", AttrKind::Ints),
        AttrDef::optional("cats_strings", AttrKind::Strs),
        AttrDef::int("zeros", 1),
    ],
    infer: |cx| {
        let count = count(cx.attrs());
        let shape = cx.shape(0)?.map(|s| [s, &[Dim::from(count)]].concat());
        cx.set_shape(0, DType::F32, shape);
        Ok(())
    },
    eval: Some(eval),
    ..OpDef::NEW
};

fn count(attrs: &Attrs) -> usize {
    let numbers = attrs.ints("cats_int64s").map_or(0, <[i64]>::len);
    if numbers > 0 { numbers } else { attrs.strs("cats_strings").map_or(0, <[String]>::len) }
}

fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>]) -> Result<Vec<Tensor>, OpError> {
    let x = operand(inputs, 0)?;
    let found: Vec<Option<usize>> = if x.dtype() == DType::String {
        let names = cx.attrs().strs("cats_strings").unwrap_or_default();
        x.as_strings().iter().map(|s| names.iter().rposition(|n| n == s)).collect()
    } else {
        let numbers = cx.ints("cats_int64s").unwrap_or_default();
        // Categories are integers, and so is what is looked up.
        widen(x)?.into_iter().map(|v| numbers.iter().rposition(|n| *n as f64 == v.trunc())).collect()
    };
    if !cx.flag("zeros") && found.contains(&None) {
        return Err(OpError::value("an element is of no category"));
    }
    let width = count(cx.attrs());
    let shape = [x.shape(), &[width]].concat();
    let mut y = vec![0f32; cx.reserve(DType::F32, &shape)?];
    for (row, at) in found.into_iter().enumerate() {
        if let Some(at) = at.filter(|at| *at < width) {
            y[row * width + at] = 1.0;
        }
    }
    Ok(vec![Tensor::new(shape, y)?])
}
