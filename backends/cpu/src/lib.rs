//! CPU backend: from an optimised graph to programs, packed weights and code.
//!
//! Guarantees: the same graph and options give the same plan, byte for byte, on any host; nothing here asks which
//! machine it runs on. Each choice is recorded as a [`Decision`]. Deliberately absent: operator names (nodes are lowered
//! to kernels first), passes, running.

mod build;
pub mod codegen;
mod select;

pub use build::{Compiled, Decision, Options, compile};
pub use select::supports;
