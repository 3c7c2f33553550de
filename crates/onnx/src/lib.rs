//! ONNX protobuf to IR.

pub mod error;
pub mod model;
pub mod proto;
pub mod wire;
