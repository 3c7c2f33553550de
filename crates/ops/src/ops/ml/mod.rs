//! Operators of classical machine learning (domain ai.onnx.ml).

mod array_feature_extractor;
mod binarizer;
mod forest;
mod imputer;
mod label_encoder;
mod linear_regressor;
mod normalizer;
mod one_hot_encoder;
mod scaler;
mod tree_ensemble;
mod tree_ensemble_regressor;

use crate::def::OpDef;

/// The rows of the family.
pub const ROWS: &[&OpDef] = &[
    &array_feature_extractor::OP,
    &binarizer::OP,
    &imputer::OP,
    &label_encoder::OP,
    &linear_regressor::OP,
    &normalizer::OP,
    &one_hot_encoder::OP,
    &scaler::OP,
    &tree_ensemble::OP,
    &tree_ensemble_regressor::OP,
];
