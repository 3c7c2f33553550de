//! Operators on strings.

mod regex_full_match;
mod string_concat;
mod string_normalizer;
mod string_split;
mod tf_idf_vectorizer;
mod tokenizer;

use crate::def::OpDef;

/// The rows of the family.
pub const ROWS: &[&OpDef] = &[
    &regex_full_match::OP,
    &string_concat::OP,
    &string_normalizer::OP,
    &string_split::OP,
    &tf_idf_vectorizer::OP,
    &tokenizer::OP,
];
