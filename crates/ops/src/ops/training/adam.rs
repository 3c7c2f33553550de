//! Adam: one step along the mean of past gradients, over the root of the mean of their squares (Kingma and Ba, 2015).

use super::optimiser::{OPTIMISER, eval, infer};
use crate::{AttrDef, OpDef};

/// The row of Adam.
pub const OP: OpDef = OpDef {
    name: "Adam",
    attrs: &[
        AttrDef::float("alpha", 0.9),
        AttrDef::float("beta", 0.999),
        AttrDef::float("epsilon", 1e-6),
        AttrDef::float("norm_coefficient", 0.0),
        AttrDef::float("norm_coefficient_post", 0.0),
    ],
    infer: |cx| infer(cx, 4),
    eval: Some(|cx, inputs| {
        let float = |name: &str| f64::from(cx.float(name));
        let (alpha, beta, epsilon) = (float("alpha"), float("beta"), float("epsilon"));
        let (norm, post) = (float("norm_coefficient"), float("norm_coefficient_post"));
        eval(cx, inputs, |p, x, g, [v, h]| {
            let g = norm * x + g;
            let v = alpha * v + (1.0 - alpha) * g;
            let h = beta * h + (1.0 - beta) * g * g;
            let rate = match p.updates > 0.0 {
                true => p.rate * (1.0 - libm::pow(beta, p.updates)).sqrt() / (1.0 - libm::pow(alpha, p.updates)),
                false => p.rate,
            };
            let x = x - rate * v / (h.sqrt() + epsilon);
            ((1.0 - post) * x, [v, h])
        })
    }),
    ..OPTIMISER
};
