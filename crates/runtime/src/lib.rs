//! Loads a plan and runs it.

pub mod pool;
