//! Operators of classical machine learning (domain ai.onnx.ml).

mod array_feature_extractor;
mod binarizer;
mod cast_map;
mod category_mapper;
mod dict_vectorizer;
mod ensemble;
mod feature_vectorizer;
mod forest;
mod imputer;
mod in_operands;
mod label_encoder;
mod linear_classifier;
mod linear_regressor;
mod normalizer;
mod one_hot_encoder;
mod scaler;
mod scores;
mod svm;
mod svm_classifier;
mod svm_regressor;
mod tree_ensemble;
mod tree_ensemble_classifier;
mod tree_ensemble_regressor;
mod zip_map;

use crate::def::OpDef;

/// The rows of the family.
pub const ROWS: &[&OpDef] = &[
    &array_feature_extractor::OP,
    &binarizer::OP,
    &cast_map::OP,
    &category_mapper::OP,
    &dict_vectorizer::OP,
    &feature_vectorizer::OP,
    &imputer::OP,
    &in_operands::CLASSIFIER,
    &in_operands::ENSEMBLE,
    &in_operands::REGRESSOR,
    &label_encoder::OP,
    &linear_classifier::OP,
    &linear_regressor::OP,
    &normalizer::OP,
    &one_hot_encoder::OP,
    &scaler::OP,
    &svm_classifier::OP,
    &svm_regressor::OP,
    &tree_ensemble::OP,
    &tree_ensemble_classifier::OP,
    &tree_ensemble_regressor::OP,
    &zip_map::OP,
];
