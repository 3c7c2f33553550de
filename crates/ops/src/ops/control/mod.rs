//! Control flow: operators whose attributes are graphs. They have no evaluation; the runtime runs their programs.

pub(crate) mod body;
mod if_;
mod loop_;
mod scan;

use crate::def::OpDef;

/// The rows of the family.
pub const ROWS: &[&OpDef] = &[&if_::OP, &loop_::OP, &scan::OP];
