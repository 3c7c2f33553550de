//! Tests of sessions over plans built by hand.

mod control;
mod plans;
mod session;
