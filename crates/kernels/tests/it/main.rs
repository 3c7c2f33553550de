//! Tests of the crate's public face, in one binary.

mod dispatch;
mod run;
