//! Gathers, scatters and searches: data say where elements come from, go to, or are.

mod compress;
mod gather;
mod gather_elements;
mod gather_nd;
mod non_zero;
mod one_hot;
mod order;
mod scatter;
mod scatter_elements;
mod scatter_nd;
mod tensor_scatter;
mod top_k;
mod unique;

use crate::def::OpDef;

/// The rows of the family.
pub const ROWS: &[&OpDef] = &[
    &compress::OP,
    &gather::OP,
    &gather_elements::OP,
    &gather_nd::MICROSOFT,
    &gather_nd::OP,
    &non_zero::OP,
    &one_hot::OP,
    &scatter_elements::OP,
    &scatter_elements::SCATTER,
    &scatter_nd::OP,
    &tensor_scatter::OP,
    &top_k::OP,
    &unique::MICROSOFT,
    &unique::OP,
];
