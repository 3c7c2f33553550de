//! AveragePool: the mean over each window; padding counts as zeros only with `count_include_pad`.

use crate::floats::{narrow, widen};
use crate::ops::nn::pool::{Walk, infer, lower};
use crate::{AttrDef, AttrKind, EvalCx, OpDef, OpError, Param, TypeSet, operand};
use planc_kir::PoolKind;
use planc_tensor::Dim;

/// The row of AveragePool.
pub const OP: OpDef = OpDef {
    name: "AveragePool",
    types: &[("T", TypeSet::FLOAT)],
    inputs: &[Param::req("X", "T")],
    outputs: &[Param::req("Y", "T")],
    attrs: &[
        AttrDef::str("auto_pad", "NOTSET"),
        AttrDef::int("ceil_mode", 0).since(10),
        AttrDef::int("count_include_pad", 0).since(7),
        AttrDef::optional("dilations", AttrKind::Ints).since(19),
        AttrDef::required("kernel_shape", AttrKind::Ints),
        AttrDef::optional("pads", AttrKind::Ints),
        AttrDef::optional("strides", AttrKind::Ints),
    ],
    infer: |cx| infer(cx).map(|_| ()),
    eval: Some(|cx, inputs| {
        let x = operand(inputs, 0)?;
        let (shape, y) = average(cx, x.shape(), &widen(x)?)?;
        Ok::<_, OpError>(vec![narrow(x.dtype(), &shape, y)?])
    }),
    lower: |cx| lower(cx, PoolKind::Average { count_pad: cx.flag("count_include_pad") }),
    ..OpDef::NEW
};

/// The averages of `data` of shape `x`, and their shape.
///
/// # Errors
/// When attributes and shape do not fit.
pub(crate) fn average(cx: &EvalCx<'_>, x: &[usize], data: &[f64]) -> Result<(Vec<usize>, Vec<f64>), OpError> {
    let walk = Walk::new(cx, x)?;
    let mut out = Vec::with_capacity(cx.reserve(planc_tensor::DType::F64, &walk.shape)?);
    let plane: usize = x[2..].iter().product();
    let count_pad = cx.flag("count_include_pad");
    let mut pads = vec![];
    for (i, d) in x[2..].iter().enumerate() {
        let [before, after] = walk.window.along(i, &Dim::from(*d))?.1;
        let total = Dim::from(*d) + before + after;
        pads.push(total.as_usize().ok_or_else(|| OpError::limit(format!("extent {total} is out of range")))?);
    }
    for p in 0..x[0] * x[1] {
        walk.windows(|index, inside| {
            let mut sum = 0.0;
            walk.elements(inside, |i| sum += data[p * plane + i]);
            let count: f64 = if count_pad {
                // What lies past the padding does not count; only the last windows of `ceil_mode` reach there.
                let padded = pads.iter().enumerate().map(|(i, extent)| {
                    let start = index[i] * walk.window.strides[i];
                    let room = extent.saturating_sub(start).div_ceil(walk.window.dilations[i]);
                    room.min(walk.window.kernel[i]) as f64
                });
                padded.product()
            } else {
                inside.iter().map(|r| r.count as f64).product()
            };
            out.push(if count == 0.0 { 0.0 } else { sum / count });
        });
    }
    Ok((walk.shape, out))
}
