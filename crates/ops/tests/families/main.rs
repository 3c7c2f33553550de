//! Operators against values that the ONNX specification or its examples give, in tables.

mod cases;
mod nn;
