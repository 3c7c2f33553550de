//! Operators of training: one step of an optimiser over any number of tensors (domain ai.onnx.preview.training).

mod adagrad;
mod adam;
mod momentum;
mod optimiser;

use crate::def::OpDef;

/// The rows of the family.
pub const ROWS: &[&OpDef] = &[&adagrad::OP, &adam::OP, &momentum::OP];
