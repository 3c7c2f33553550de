//! Operators against values that the ONNX specification or its examples give, in tables.

mod agree;
mod cases;
mod elementwise;
mod image;
mod known;
mod microsoft;
mod ml;
mod models;
mod nn;
mod rewrites;
mod sequence;
mod stateful;
mod table;
mod text;
mod types;
