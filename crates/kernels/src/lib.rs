//! SIMD kernels for the CPU.
//!
//! Every algorithm is written once, generic over [`isa::Simd`], and compiled for each tier ([`isa::Tier`]): AVX-512,
//! AVX2 with FMA, NEON and a portable fallback. Kernels take an [`isa::Isa`] (proof that the tier is available here)
//! and a [`par::Parallel`] to spread work over; they allocate nothing of a tensor's size, and callers pass
//! scratch memory.
//!
//! Guarantees:
//! * for one tier the result does not depend on the number of threads, bit for bit;
//! * safe functions check the lengths of the slices they are given and panic on a mismatch, which is a bug in the
//!   caller (shapes are verified long before a kernel runs), so safe callers cannot cause memory errors;
//! * weights are packed in panels and channel blocks of 16 on every tier, so one packed plan serves all of them.
//!
//! Deliberately absent: shape inference, broadcasting rules, operator names, threads, memory management.
#![allow(unsafe_code, reason = "SIMD intrinsics and disjoint writes from several threads")]

pub mod attention;
#[cfg(test)]
mod check;
pub mod conv;
pub mod convert;
pub mod dispatch;
pub mod epilogue;
pub mod gemm;
pub mod integer;
pub mod isa;
mod micro;
pub mod norm;
pub mod par;
pub mod peak;
pub mod pool;
pub mod reduce;
pub mod reorder;
pub mod resize;
pub mod rnn;
pub mod softmax;
pub mod transpose;
pub mod vmath;
