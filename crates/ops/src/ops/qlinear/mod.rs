//! Linear operators on quantised operands with quantised results.

pub(crate) mod qlinear_conv;
mod qlinear_matmul;
pub(crate) mod requantise;
pub(crate) mod steps;

use crate::def::OpDef;

/// The rows of the family.
pub const ROWS: &[&OpDef] = &[&qlinear_conv::OP, &qlinear_matmul::OP];
