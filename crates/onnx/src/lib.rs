//! ONNX protobuf to IR.
