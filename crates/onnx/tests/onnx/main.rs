//! Tests of the crate's public face, in one binary.

mod builder;
mod data;
mod export;
mod import;
mod tensor;
mod wire;
