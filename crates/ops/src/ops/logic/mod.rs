//! Comparisons, logic and bits, and selection by a condition.

mod bit_shift;
mod bitwise_and;
mod bitwise_not;
mod bitwise_or;
mod bitwise_xor;
mod bool_and;
mod bool_not;
mod bool_or;
mod bool_xor;
mod equal;
mod greater;
mod greater_or_equal;
mod is_inf;
mod is_nan;
mod less;
mod less_or_equal;
mod select;

use crate::def::OpDef;

/// The rows of the family.
pub const ROWS: &[&OpDef] = &[
    &bit_shift::OP,
    &bitwise_and::OP,
    &bitwise_not::OP,
    &bitwise_or::OP,
    &bitwise_xor::OP,
    &bool_and::OP,
    &bool_not::OP,
    &bool_or::OP,
    &bool_xor::OP,
    &equal::OP,
    &greater::OP,
    &greater_or_equal::OP,
    &is_inf::OP,
    &is_nan::OP,
    &less::OP,
    &less_or_equal::OP,
    &select::OP,
];
