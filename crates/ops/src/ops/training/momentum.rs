//! Momentum: one step along a decaying sum of gradients, or (`mode = nesterov`) along where that sum is going.

use super::optimiser::{OPTIMISER, eval, infer};
use crate::{AttrDef, AttrKind, OpDef, OpError};

/// The row of Momentum.
pub const OP: OpDef = OpDef {
    name: "Momentum",
    attrs: &[
        AttrDef::required("alpha", AttrKind::Float),
        AttrDef::required("beta", AttrKind::Float),
        AttrDef::required("mode", AttrKind::Str),
        AttrDef::required("norm_coefficient", AttrKind::Float),
    ],
    infer: |cx| {
        nesterov(cx.str("mode"))?;
        infer(cx, 3)
    },
    eval: Some(|cx, inputs| {
        let float = |name: &str| f64::from(cx.float(name));
        let (alpha, beta, norm) = (float("alpha"), float("beta"), float("norm_coefficient"));
        let nesterov = nesterov(cx.str("mode"))?;
        eval(cx, inputs, |p, x, g, [v]| {
            let g = norm * x + g;
            let v = alpha * v + if p.updates > 0.0 { beta } else { 1.0 } * g;
            let step = if nesterov { g + alpha * v } else { v };
            (x - p.rate * step, [v])
        })
    }),
    ..OPTIMISER
};

fn nesterov(mode: &str) -> Result<bool, OpError> {
    match mode {
        "standard" => Ok(false),
        "nesterov" => Ok(true),
        other => Err(OpError::attribute(format!("mode is {other:?}, not standard or nesterov"))),
    }
}
