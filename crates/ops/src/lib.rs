//! The operator table: what every operator means.
//!
//! One operator is one file below `src/ops/` that ends in a `const` row ([`OpDef`]); the family's list names it once.
//! A row says everything: schema, upgrades from old opsets, inference, reference evaluation, lowering, cases.
//! Deliberately absent: backends, file formats, and any second list of operators.

pub mod cast;
pub mod convolve;
mod cx;
mod def;
pub mod elementwise;
mod error;
mod extremum;
pub mod floats;
pub mod indexing;
mod infer;
pub mod known;
pub mod minifloat;
pub mod normalize;
pub mod ops;
pub mod product;
pub mod quantise;
mod rebuild;
mod reduction;
mod rowwise;
mod running;
pub mod scalar;
mod schema;
mod sequences;
mod table;
pub mod window;

pub use cx::{Arg, Decompose, EvalCx, InferCx, LowerCx, Lowered, UpgradeCx, normal_axis, operand};
pub use def::{AttrDef, AttrKind, Default, OpDef, Param, ParamKind, Props, TypeSet, Upgrade};
pub use error::{ErrorKind, NodeError, OpError};
pub use infer::{check_node, infer_graph, infer_node, locate};
pub use ops::contrib::excluded;
pub use table::{NEWEST_OPSET, all, find, row};
