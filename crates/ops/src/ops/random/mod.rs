//! Random numbers.

mod bernoulli;
mod generator;
pub(crate) mod mersenne;
mod multinomial;
mod random_normal;
mod random_normal_like;
mod random_uniform;
mod random_uniform_like;

use crate::def::OpDef;

/// The rows of the family.
pub const ROWS: &[&OpDef] = &[
    &bernoulli::OP,
    &multinomial::OP,
    &random_normal::OP,
    &random_normal_like::OP,
    &random_uniform::OP,
    &random_uniform_like::OP,
];
