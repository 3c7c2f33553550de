//! CUDA backend: kernels as PTX, and how the steps of a program are launched.
//!
//! Guarantees: the same graph and options give the same bytes on any host; nothing here needs a device or its driver.
//! Deliberately absent: operator names, running.

pub mod ptx;
