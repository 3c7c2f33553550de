//! All operators, by family. A family's `mod.rs` lists its files and rows; nothing else names an operator's file.

pub mod activation;
pub mod contrib;
pub mod control;
pub mod image;
pub mod index;
pub mod internal;
pub mod logic;
pub mod math;
pub mod ml;
pub mod movement;
pub mod nn;
pub mod qlinear;
pub mod quant;
pub mod random;
pub mod reduce;
pub mod rnn;
pub mod sequence;
pub mod shape;
pub mod signal;
pub mod text;
pub mod training;

use crate::def::OpDef;

/// The rows of all families.
pub static FAMILIES: &[&[&OpDef]] = &[
    activation::ROWS,
    contrib::ROWS,
    control::ROWS,
    image::ROWS,
    index::ROWS,
    internal::ROWS,
    logic::ROWS,
    math::ROWS,
    ml::ROWS,
    movement::ROWS,
    nn::ROWS,
    qlinear::ROWS,
    quant::ROWS,
    random::ROWS,
    reduce::ROWS,
    rnn::ROWS,
    sequence::ROWS,
    shape::ROWS,
    signal::ROWS,
    text::ROWS,
    training::ROWS,
];
