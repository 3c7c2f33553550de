//! SimplifiedLayerNormalization: root-mean-square normalisation as ONNX Runtime writes it, in the domain of ONNX.

use crate::floats::{narrow, widen};
use crate::normalize::{apply, normalize};
use crate::ops::nn::layer_normalization::{lower, stash_type};
use crate::{AttrDef, EvalCx, InferCx, OpDef, OpError, Param, TypeSet, normal_axis, operand};
use planc_ir::TensorType;
use planc_kir::NormKind;
use planc_tensor::{Dim, Tensor, View};

/// The row of SimplifiedLayerNormalization.
pub const OP: OpDef = OpDef {
    name: "SimplifiedLayerNormalization",
    types: &[("T", TypeSet::FLOAT), ("V", TypeSet::FLOAT), ("U", TypeSet::FLOAT)],
    inputs: &[Param::req("X", "T"), Param::req("scale", "V")],
    outputs: &[Param::req("Y", "V"), Param::opt("inv_std_var", "U")],
    attrs: &[AttrDef::int("axis", -1), AttrDef::float("epsilon", 1e-5), AttrDef::int("stash_type", 1)],
    infer: |cx: &mut InferCx<'_>| {
        let (x, dtype, stash) = (cx.tensor(0)?.clone(), cx.dtype(1)?, stash_type(cx)?);
        let axis = x.rank().map(|r| cx.axis("axis", r)).transpose()?;
        let one = |(i, d): (usize, &Dim)| if Some(i) < axis { d.clone() } else { Dim::from(1i64) };
        let kept = x.shape.as_ref().map(|s| s.iter().enumerate().map(one).collect());
        cx.set_shape(1, stash, kept);
        cx.set(0, TensorType { dtype, ..x });
        Ok(())
    },
    eval: Some(eval),
    lower: |cx| lower(cx, |axis| NormKind::Rms { axis }),
    ..OpDef::NEW
};

/// The row of com.microsoft's SimplifiedLayerNormalization, which some exporters write.
pub const MICROSOFT: OpDef = OpDef { domain: "com.microsoft", ..OP };

fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>]) -> Result<Vec<Tensor>, OpError> {
    let (x, scale) = (operand(inputs, 0)?, operand(inputs, 1)?);
    let axis = normal_axis(cx.int("axis"), x.rank())?;
    let mut y = widen(x)?;
    let len: usize = x.shape()[axis..].iter().product();
    let moments = normalize(&mut y, len, f64::from(cx.float("epsilon")), false);
    apply(&mut y, x.shape(), (&widen(scale)?, scale.shape()), |a, b| a * b)?;
    let mut results = vec![narrow(scale.dtype(), x.shape(), y)?];
    if cx.output_count() > 1 {
        let kept: Vec<usize> = x.shape().iter().enumerate().map(|(i, d)| if i < axis { *d } else { 1 }).collect();
        let mut v: Vec<f64> = moments.iter().map(|m| m.inverse).collect();
        v.resize(kept.iter().product(), f64::NAN);
        results.push(narrow(cx.output_dtype(1)?, &kept, v)?);
    }
    Ok(results)
}
