//! Operators of domain `planc`, which only passes make: what fusion joins and ONNX has no name for.

mod attention;
mod dropout;
mod map;
mod optional;
mod reduce;
mod reorder;

use crate::def::OpDef;

/// The rows of the family.
pub const ROWS: &[&OpDef] = &[
    &attention::OP,
    &dropout::OP,
    &map::OP,
    &optional::GET,
    &optional::HAS,
    &optional::MAKE,
    &reduce::OP,
    &reorder::OP,
];
