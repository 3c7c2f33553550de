//! MaxUnpool: puts elements where a MaxPool took them from; everything else is zero.

use crate::floats::{narrow, widen};
use crate::window::Window;
use crate::{AttrDef, AttrKind, EvalCx, InferCx, OpDef, OpError, Param, TypeSet, operand};
use planc_ir::Attrs;
use planc_tensor::{Dim, Tensor, View, contiguous_strides};

/// The row of MaxUnpool.
pub const OP: OpDef = OpDef {
    name: "MaxUnpool",
    since: 9,
    types: &[("T1", TypeSet::FLOAT), ("T2", TypeSet::I64)],
    inputs: &[Param::req("X", "T1"), Param::req("I", "T2"), Param::opt("output_shape", "T2")],
    outputs: &[Param::req("output", "T1")],
    attrs: &[
        AttrDef::required("kernel_shape", AttrKind::Ints),
        AttrDef::optional("pads", AttrKind::Ints),
        AttrDef::optional("strides", AttrKind::Ints),
    ],
    infer: |cx: &mut InferCx<'_>| {
        let dtype = cx.dtype(0)?;
        let x = cx.shape(0)?;
        let natural = x.map(|x| unpooled(cx.attrs(), x)).transpose()?;
        let shape = match (cx.has(2), natural) {
            (true, natural) => {
                let rank = natural.map(|s| s.len());
                let wanted = cx.known(2).filter(|w| rank.is_none_or(|r| r == w.len()));
                wanted.or_else(|| rank.map(|r| (0..r).map(|i| cx.fresh(0, i)).collect()))
            }
            (false, natural) => natural,
        };
        cx.set_shape(0, dtype, shape);
        Ok(())
    },
    eval: Some(eval),
    ..OpDef::NEW
};

/// The shape of what a pooling that gave `x` took.
fn unpooled(attrs: &Attrs, x: &[Dim]) -> Result<Vec<Dim>, OpError> {
    let spatial = x.get(2..).filter(|s| !s.is_empty()).ok_or_else(|| OpError::shape("data without spatial axes"))?;
    let window = Window::of_pool(attrs, spatial.len())?;
    let pads = attrs.ints("pads").filter(|p| !p.is_empty());
    let pad = |i: usize| pads.and_then(|p| p.get(i)).map_or(Dim::from(0i64), |p| Dim::from(*p));
    let mut shape = x[..2].to_vec();
    for (i, d) in spatial.iter().enumerate() {
        let full = (d.clone() - Dim::from(1i64)) * Dim::from(window.strides[i]) + Dim::from(window.kernel[i]);
        let out = full - pad(i) - pad(i + spatial.len());
        if out.as_const().is_some_and(|o| o < 0) {
            return Err(OpError::shape(format!("spatial axis {i} would have {out} elements")));
        }
        shape.push(out);
    }
    Ok(shape)
}

fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>]) -> Result<Vec<Tensor>, OpError> {
    let (x, index) = (operand(inputs, 0)?, operand(inputs, 1)?);
    let dims: Vec<Dim> = x.shape().iter().map(|d| Dim::from(*d)).collect();
    let natural = unpooled(cx.attrs(), &dims)?;
    let natural: Vec<usize> = natural.iter().map(|d| d.as_usize().unwrap_or(0)).collect();
    let shape = match inputs.get(2).copied().flatten().and_then(|s| s.to_i64()) {
        Some(s) => s.iter().map(|d| usize::try_from(*d).ok()).collect::<Option<Vec<_>>>(),
        None => Some(natural.clone()),
    };
    let shape =
        shape.filter(|s| s.len() == natural.len()).ok_or_else(|| OpError::value("output_shape does not fit"))?;
    let mut out = vec![0.0; cx.reserve(planc_tensor::DType::F64, &shape)?];
    let total = cx.reserve(planc_tensor::DType::F64, &natural)?;
    if index.len() != x.len() {
        return Err(OpError::shape("data and indices differ in shape"));
    }
    let (from, to) = (contiguous_strides(&natural), contiguous_strides(&shape));
    for (v, i) in widen(x)?.into_iter().zip(index.to_i64().unwrap_or_default()) {
        let i = usize::try_from(i).ok().filter(|i| *i < total);
        let mut rest = i.ok_or_else(|| OpError::value(format!("an index is outside of {natural:?}")))?;
        let mut at = Some(0);
        for axis in 0..natural.len() {
            let k = rest / from[axis];
            rest %= from[axis];
            at = at.filter(|_| k < shape[axis]).map(|a| a + k * to[axis]);
        }
        // Elements beyond a smaller output_shape are cut off.
        if let Some(at) = at {
            out[at] = v;
        }
    }
    Ok(vec![narrow(x.dtype(), &shape, out)?])
}
