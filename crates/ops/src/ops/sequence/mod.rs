//! Sequences and optionals. Inside of a run their values are packed, see [`planc_tensor::Value`].

mod concat_from_sequence;
mod optional;
mod optional_get_element;
mod optional_has_element;
mod sequence_at;
mod sequence_construct;
mod sequence_empty;
mod sequence_erase;
mod sequence_insert;
mod sequence_length;
mod sequence_map;
mod split_to_sequence;

use crate::def::OpDef;

/// The rows of the family.
pub const ROWS: &[&OpDef] = &[
    &concat_from_sequence::OP,
    &optional::OP,
    &optional_get_element::OP,
    &optional_has_element::OP,
    &sequence_at::OP,
    &sequence_construct::OP,
    &sequence_empty::OP,
    &sequence_erase::OP,
    &sequence_insert::OP,
    &sequence_length::OP,
    &sequence_map::OP,
    &split_to_sequence::OP,
];
