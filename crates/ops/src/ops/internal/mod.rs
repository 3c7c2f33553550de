//! Operators of domain `planc`, which only passes make: what fusion joins and ONNX has no name for.

mod attention;
mod map;
mod reduce;
mod reorder;

use crate::def::OpDef;

/// The rows of the family.
pub const ROWS: &[&OpDef] = &[&attention::OP, &map::OP, &reduce::OP, &reorder::OP];
