//! Operators about shapes: they move no element to another place in the order, repeat one, or read no element at all.

mod bit_cast;
mod constant;
mod constant_fill;
mod constant_of_shape;
mod expand;
mod eye_like;
mod flatten;
mod identity;
mod range;
pub(crate) mod reshape;
mod shape_of;
mod size;
mod squeeze;
mod unsqueeze;

use crate::def::OpDef;

/// The rows of the family.
pub const ROWS: &[&OpDef] = &[
    &bit_cast::OP,
    &constant::OP,
    &constant_fill::OP,
    &constant_of_shape::OP,
    &expand::OP,
    &eye_like::OP,
    &flatten::OP,
    &identity::OP,
    &range::OP,
    &reshape::OP,
    &shape_of::OP,
    &size::OP,
    &squeeze::OP,
    &unsqueeze::EXPAND_DIMS,
    &unsqueeze::OP,
];
