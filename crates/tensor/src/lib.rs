//! Element types, tensors over shared bytes, symbolic dims, attributes.
