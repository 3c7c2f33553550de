//! Generated kernels against the interpreter of kernel IR, over awkward shapes; and what kernels look like.
//!
//! Each case runs in the interpreter of PTX, which checks kernels while it runs them, and on the CUDA device of this machine
//! where there is one. `scripts/gpu.py` reads what the cases print about how close they came.
#![allow(clippy::print_stdout, reason = "the runner shows it on request; scripts/gpu.py reads it")]

mod attention;
mod check;
mod convolutions;
mod maps;
mod numbers;
mod products;
mod rows;
mod snapshots;
mod windows;
