//! Copies: every result element is an element of an operand, at a place that extents and attributes decide.

mod center_crop_pad;
mod col2im;
pub(crate) mod concat;
mod depth_to_space;
mod dynamic_slice;
mod pad;
mod reverse_sequence;
mod slice;
mod space_to_depth;
mod split;
mod tile;
mod transpose;
mod trilu;

use crate::def::OpDef;

/// The rows of the family.
pub const ROWS: &[&OpDef] = &[
    &center_crop_pad::OP,
    &col2im::OP,
    &concat::OP,
    &depth_to_space::OP,
    &pad::MICROSOFT,
    &dynamic_slice::OP,
    &pad::OP,
    &reverse_sequence::OP,
    &slice::OP,
    &space_to_depth::OP,
    &split::OP,
    &tile::OP,
    &transpose::OP,
    &trilu::MICROSOFT,
    &trilu::OP,
];
