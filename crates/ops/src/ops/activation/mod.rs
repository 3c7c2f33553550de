//! Activations: functions that networks put after linear layers.

mod bias_gelu;
mod celu;
pub(crate) mod dropout;
mod elu;
mod fast_gelu;
mod gelu;
mod gelu_microsoft;
mod hard_sigmoid;
mod hard_swish;
mod hardmax;
mod leaky_relu;
mod log_softmax;
mod mish;
mod prelu;
mod quick_gelu;
mod relu;
mod selu;
mod shrink;
mod sigmoid;
mod softmax;
mod softplus;
mod softsign;
mod swiglu;
mod swish;
mod tanh;
mod thresholded_relu;

use crate::def::OpDef;

/// The rows of the family.
pub const ROWS: &[&OpDef] = &[
    &bias_gelu::OP,
    &celu::OP,
    &dropout::OP,
    &elu::OP,
    &fast_gelu::OP,
    &gelu::OP,
    &gelu_microsoft::OP,
    &hard_sigmoid::OP,
    &hard_swish::OP,
    &hardmax::OP,
    &leaky_relu::OP,
    &log_softmax::OP,
    &mish::OP,
    &prelu::OP,
    &quick_gelu::OP,
    &relu::OP,
    &selu::OP,
    &shrink::OP,
    &sigmoid::OP,
    &softmax::OP,
    &softplus::OP,
    &softsign::OP,
    &swiglu::OP,
    &swish::OP,
    &tanh::OP,
    &thresholded_relu::OP,
];
