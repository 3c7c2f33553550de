//! Operators of the domain com.microsoft, as ONNX Runtime documents them.

mod dynamic_quantize_lstm;

use crate::def::OpDef;

/// The rows of the family.
pub const ROWS: &[&OpDef] = &[&dynamic_quantize_lstm::OP];
