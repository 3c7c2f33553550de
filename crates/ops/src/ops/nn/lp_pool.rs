//! LpPool: the p-norm over each window.

use crate::floats::{narrow, widen};
use crate::ops::nn::pool::{Walk, infer, lower};
use crate::{AttrDef, AttrKind, OpDef, OpError, Param, TypeSet, Upgrade, UpgradeCx, operand};
use planc_kir::PoolKind;
use planc_tensor::Attr;

/// The row of LpPool.
pub const OP: OpDef = OpDef {
    name: "LpPool",
    types: &[("T", TypeSet::FLOAT)],
    inputs: &[Param::req("X", "T")],
    outputs: &[Param::req("Y", "T")],
    attrs: &[
        AttrDef::str("auto_pad", "NOTSET"),
        AttrDef::int("ceil_mode", 0).since(18),
        AttrDef::optional("dilations", AttrKind::Ints).since(18),
        AttrDef::required("kernel_shape", AttrKind::Ints),
        AttrDef::int("p", 2),
        AttrDef::optional("pads", AttrKind::Ints),
        AttrDef::optional("strides", AttrKind::Ints),
    ],
    upgrades: &[Upgrade { to: 2, step: whole_p }],
    infer: |cx| {
        power(cx.int("p"))?;
        infer(cx).map(|_| ())
    },
    eval: Some(|cx, inputs| {
        let x = operand(inputs, 0)?;
        let walk = Walk::new(cx, x.shape())?;
        let mut out = Vec::with_capacity(cx.reserve(x.dtype(), &walk.shape)?);
        let (data, p) = (widen(x)?, power(cx.int("p"))?);
        let plane: usize = x.shape()[2..].iter().product();
        for n in 0..x.shape()[0] * x.shape()[1] {
            walk.windows(|_, inside| {
                let mut sum = 0.0;
                walk.elements(inside, |i| sum += data[n * plane + i].abs().powf(p));
                out.push(sum.powf(1.0 / p));
            });
        }
        Ok::<_, OpError>(vec![narrow(x.dtype(), &walk.shape, out)?])
    }),
    lower: |cx| lower(cx, PoolKind::Lp { p: cx.int("p") }),
    ..OpDef::NEW
};

/// The exponent of a norm, checked.
///
/// # Errors
/// When it is not positive.
pub(crate) fn power(p: i64) -> Result<f64, OpError> {
    if p < 1 { Err(OpError::attribute(format!("p is {p}"))) } else { Ok(p as f64) }
}

/// Opset 1 had `p` as a float.
///
/// # Errors
/// When it is not a whole number.
pub(crate) fn whole_p(cx: &mut UpgradeCx<'_>) -> Result<(), OpError> {
    let Some(Attr::Float(p)) = cx.attrs.get("p").cloned() else { return Ok(()) };
    if p.fract() != 0.0 {
        return Err(OpError::unsupported(format!("a norm of p = {p}")));
    }
    cx.attrs.set("p", p as i64);
    Ok(())
}
