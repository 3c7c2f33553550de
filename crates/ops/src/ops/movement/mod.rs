//! Copies: every result element is an element of an operand, at a place that extents and attributes decide.

mod concat;
mod depth_to_space;
mod pad;
mod slice;
mod space_to_depth;
mod split;
mod tile;
mod transpose;

use crate::def::OpDef;

/// The rows of the family.
pub const ROWS: &[&OpDef] = &[
    &concat::OP,
    &depth_to_space::OP,
    &pad::OP,
    &slice::OP,
    &space_to_depth::OP,
    &split::OP,
    &tile::OP,
    &transpose::OP,
];
