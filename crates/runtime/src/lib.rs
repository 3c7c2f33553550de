//! Loads a plan and runs it.

pub mod map;
pub mod pool;
