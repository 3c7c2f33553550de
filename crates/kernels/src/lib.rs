//! SIMD kernels for the CPU.
