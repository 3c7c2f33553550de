//! CPU backend: kernel selection, weight packing, code generation.
