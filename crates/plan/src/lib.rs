//! The plan format: writer and validating zero-copy reader.

pub mod arena;
pub mod code;
pub mod container;
pub mod launch;
pub mod program;
