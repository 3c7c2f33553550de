//! Quantisation: between floats and small integers or floats by scale and zero point.

mod dequantize_linear;
mod dynamic_quantize_linear;
mod quantize_linear;

use crate::def::OpDef;

/// The rows of the family.
pub const ROWS: &[&OpDef] = &[
    &dequantize_linear::OP,
    &dequantize_linear::MICROSOFT,
    &dynamic_quantize_linear::OP,
    &quantize_linear::OP,
    &quantize_linear::MICROSOFT,
];
