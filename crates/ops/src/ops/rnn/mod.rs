//! Recurrent layers.

mod gru;
mod lstm;
pub(crate) mod recurrent;
mod simple;

use crate::def::OpDef;

/// The rows of the family.
pub const ROWS: &[&OpDef] = &[&gru::OP, &lstm::OP, &simple::OP];
