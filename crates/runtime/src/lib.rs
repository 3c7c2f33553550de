//! Loads a plan and runs it.
