//! ONNX protobuf to IR.

pub mod error;
pub mod files;
pub mod model;
pub mod proto;
pub mod tensor;
pub mod wire;
