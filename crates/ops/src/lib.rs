//! The operator table: one file per operator.
