//! The graph: values, nodes, types; editing and ordering.
//!
//! Guarantees: handles are typed ids into arenas; every value is defined once; uses are kept exact by the editing
//! methods of [`Graph`], which are the only way to change a graph; ordering is deterministic. Deliberately absent:
//! what operators mean (the op table knows), file formats, passes.

mod algo;
mod attrs;
mod dot;
mod graph;
mod order;
pub mod text;
mod types;
mod verify;

pub use algo::{GraphView, Visited};
pub use attrs::Attrs;
pub use dot::dot;
pub use graph::{
    Capture, Def, Epilogue, Graph, Node, NodeBuilder, NodeEdit, NodeId, OpName, Origin, Subgraph, Use, Value, ValueId,
};
pub use planc_tensor::Layout;
pub use types::{TensorType, Type};
pub use verify::{VerifyError, verify};
