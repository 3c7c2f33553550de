//! Adagrad: one step along the gradient over the root of the sum of all squared gradients (Duchi et al., 2011).

use super::optimiser::{OPTIMISER, eval, infer};
use crate::{AttrDef, OpDef};

/// The row of Adagrad.
pub const OP: OpDef = OpDef {
    name: "Adagrad",
    attrs: &[
        AttrDef::float("decay_factor", 0.0),
        AttrDef::float("epsilon", 1e-6),
        AttrDef::float("norm_coefficient", 0.0),
    ],
    infer: |cx| infer(cx, 3),
    eval: Some(|cx, inputs| {
        let float = |name: &str| f64::from(cx.float(name));
        let (decay, epsilon, norm) = (float("decay_factor"), float("epsilon"), float("norm_coefficient"));
        eval(cx, inputs, |p, x, g, [h]| {
            let g = norm * x + g;
            let h = h + g * g;
            let rate = p.rate / (1.0 + p.updates * decay);
            (x - rate * g / (h.sqrt() + epsilon), [h])
        })
    }),
    ..OPTIMISER
};
