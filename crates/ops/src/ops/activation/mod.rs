//! Activations: elementwise functions of one operand that networks put after linear layers.

mod relu;

use crate::def::OpDef;

/// The rows of the family.
pub const ROWS: &[&OpDef] = &[&relu::OP];
