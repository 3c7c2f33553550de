//! Operators of ONNX Runtime, as it documents them: the domain com.microsoft, and its additions to that of ONNX.

mod attention;
mod channels_last;
mod dynamic_quantize_lstm;
mod dynamic_quantize_matmul;
mod embed_layer_normalization;
pub mod excluded;
mod fused_conv;
mod fused_gemm;
mod fused_matmul;
mod gather_block_quantized;
mod group_query_attention;
mod heads;
mod inverse;
mod matmul_integer_to_float;
mod matmul_nbits;
mod multi_head_attention;
mod nhwc_conv;
mod nhwc_max_pool;
mod qattention;
mod qgemm;
mod qlinear_average_pool;
mod qlinear_binary;
mod qlinear_concat;
mod qlinear_conv;
mod qlinear_global_average_pool;
mod qlinear_leaky_relu;
mod qlinear_sigmoid;
mod qlinear_softmax;
mod qlinear_where;
mod rotary_embedding;
mod simplified_layer_normalization;
mod skip_normalization;

use crate::def::OpDef;

/// The rows of the family.
pub const ROWS: &[&OpDef] = &[
    &attention::OP,
    &dynamic_quantize_lstm::OP,
    &dynamic_quantize_matmul::OP,
    &embed_layer_normalization::OP,
    &fused_conv::OP,
    &fused_gemm::OP,
    &fused_matmul::OP,
    &fused_matmul::TRANSPOSE,
    &gather_block_quantized::OP,
    &group_query_attention::OP,
    &inverse::OP,
    &matmul_integer_to_float::OP,
    &matmul_nbits::OP,
    &multi_head_attention::OP,
    &nhwc_conv::CONV,
    &nhwc_conv::FUSED,
    &nhwc_max_pool::OP,
    &qattention::OP,
    &qgemm::OP,
    &qlinear_average_pool::OP,
    &qlinear_binary::ADD,
    &qlinear_binary::MUL,
    &qlinear_concat::OP,
    &qlinear_conv::OP,
    &qlinear_global_average_pool::OP,
    &qlinear_leaky_relu::OP,
    &qlinear_sigmoid::OP,
    &qlinear_softmax::OP,
    &qlinear_where::OP,
    &rotary_embedding::OP,
    &simplified_layer_normalization::OP,
    &simplified_layer_normalization::MICROSOFT,
    &skip_normalization::LAYER,
    &skip_normalization::SIMPLIFIED,
];
