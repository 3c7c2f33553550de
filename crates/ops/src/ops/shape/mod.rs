//! Operators about shapes: they move no element to another place in the order, or read no element at all.

mod reshape;
mod shape_of;

use crate::def::OpDef;

/// The rows of the family.
pub const ROWS: &[&OpDef] = &[&reshape::OP, &shape_of::OP];
