//! Linear layers, convolutions, poolings and normalisations.

mod attention;
pub(crate) mod average_pool;
mod batch_normalization;
mod causal_conv_with_state;
pub(crate) mod conv;
pub(crate) mod conv_integer;
mod conv_transpose;
mod deform_conv;
mod det;
mod einsum;
mod flex_attention;
pub(crate) mod gemm;
mod global_average_pool;
mod global_lp_pool;
mod global_max_pool;
pub(crate) mod global_pool;
pub(crate) mod group_normalization;
mod instance_normalization;
pub(crate) mod layer_normalization;
mod linear_attention;
mod loss;
mod lp_normalization;
pub(crate) mod lp_pool;
mod lrn;
pub(crate) mod matmul;
pub(crate) mod matmul_integer;
pub(crate) mod max_pool;
mod max_unpool;
mod mean_variance_normalization;
mod negative_log_likelihood_loss;
pub(crate) mod pool;
mod rms_normalization;
mod rotary_embedding;
mod softmax_cross_entropy_loss;

use crate::def::OpDef;

/// The rows of the family.
pub const ROWS: &[&OpDef] = &[
    &attention::OP,
    &average_pool::OP,
    &batch_normalization::OP,
    &causal_conv_with_state::OP,
    &conv::OP,
    &conv_integer::OP,
    &conv_transpose::OP,
    &deform_conv::OP,
    &det::OP,
    &einsum::OP,
    &flex_attention::OP,
    &gemm::OP,
    &global_average_pool::OP,
    &global_lp_pool::OP,
    &global_max_pool::OP,
    &group_normalization::OP,
    &instance_normalization::OP,
    &layer_normalization::OP,
    &linear_attention::OP,
    &lp_normalization::OP,
    &lp_pool::OP,
    &lrn::OP,
    &matmul::OP,
    &matmul_integer::OP,
    &max_pool::OP,
    &max_unpool::OP,
    &mean_variance_normalization::OP,
    &negative_log_likelihood_loss::OP,
    &rms_normalization::OP,
    &rotary_embedding::OP,
    &softmax_cross_entropy_loss::OP,
];
