//! Tests of sessions over plans built by hand.

mod control;
mod device;
mod plans;
mod session;
