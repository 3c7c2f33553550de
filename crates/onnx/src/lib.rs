//! ONNX models to IR graphs.
//!
//! | module | what it does |
//! |---|---|
//! | [`wire`] | checks the raw protobuf bytes and leaves weights out |
//! | [`proto`] | the one module that names protobuf types: bytes to records |
//! | [`model`] | the records: a model as plain data |
//! | [`files`], [`tensor`] | weights, inline and external, as tensors that share mapped files |
//! | `order`, `functions`, `opsets`, `check` | everything that can be checked before building |
//! | [`data`] | values in files of their own: the format of test data |
//! | `types`, `build` | declared types; the graph, with functions inlined and types inferred |
//! | [`export`] | graphs to models again, for commands that write them |
//! | [`import`](mod@import) | the stages in order |
//!
//! Guarantees: whatever the bytes are, an import ends with a graph or with located errors, in memory bounded by the
//! size of the file and the documented limits; it never reads outside of the model's folder. Deliberately absent: optimisation.

mod build;
mod check;
pub mod data;
pub mod error;
pub mod export;
pub mod files;
pub mod functions;
pub mod import;
pub mod model;
mod opsets;
mod order;
pub mod proto;
pub mod tensor;
mod types;
pub mod wire;

pub use error::{Category, Code, ImportError};
pub use import::{Imported, Metadata, Options, import_bytes, import_file};
