//! Tests of all passes: cases as text, examples of headers, meaning kept on whole models.

mod cases;
mod eval;
mod examples;
mod models;
