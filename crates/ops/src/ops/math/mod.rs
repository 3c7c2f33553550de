//! Arithmetic.

mod add;
pub(crate) mod legacy_broadcast;

use crate::def::OpDef;

/// The rows of the family.
pub const ROWS: &[&OpDef] = &[&add::OP];
