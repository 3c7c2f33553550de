//! Kernel IR: the closed set of kernels, scalar expressions and their interpreter.
