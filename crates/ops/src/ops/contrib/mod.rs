//! Operators of ONNX Runtime, as it documents them: the domain com.microsoft, and its additions to that of ONNX.

mod dynamic_quantize_lstm;
mod dynamic_quantize_matmul;
mod embed_layer_normalization;
mod fused_conv;
mod fused_gemm;
mod fused_matmul;
mod matmul_integer_to_float;
mod multi_head_attention;
mod qgemm;
mod qlinear_binary;
mod qlinear_leaky_relu;
mod simplified_layer_normalization;
mod skip_normalization;

use crate::def::OpDef;

/// The rows of the family.
pub const ROWS: &[&OpDef] = &[
    &dynamic_quantize_lstm::OP,
    &dynamic_quantize_matmul::OP,
    &embed_layer_normalization::OP,
    &fused_conv::OP,
    &fused_gemm::OP,
    &fused_matmul::OP,
    &matmul_integer_to_float::OP,
    &multi_head_attention::OP,
    &qgemm::OP,
    &qlinear_binary::ADD,
    &qlinear_binary::MUL,
    &qlinear_leaky_relu::OP,
    &simplified_layer_normalization::OP,
    &skip_normalization::LAYER,
    &skip_normalization::SIMPLIFIED,
];
