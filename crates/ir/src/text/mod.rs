//! The canonical text form of graphs, made for review: what is printed is what is parsed.
//!
//! Guarantees: [`parse`] of what [`print()`] gives is a graph that is [`Graph::same_as`] the printed one; equal graphs
//! print equal bytes; values are named, never numbered; nothing depends on handles, hash order or the host. Constants
//! of up to [`INLINE`] elements are written out, longer ones by content hash, which a [`Resolver`] turns back into a
//! tensor. Deliberately absent: nodes' origins, what inference knows of elements, values that nobody reads.
//! The grammar stands in `docs/ir-text.md`.

mod lex;
mod literal;
mod parse;
mod print;
mod same;

pub use literal::content_hash;
pub use parse::{ParseError, Resolver, parse, parse_with};
pub(crate) use print::nodes;
pub use print::print;

/// The number of the text format, in every header.
pub const FORMAT: u32 = 1;

/// Elements of a constant that are written out at most.
pub const INLINE: usize = 8;

/// What the first line says besides the graph's name and the format.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The opset version the model imported for ai.onnx.
    pub opset: Option<u32>,
    /// The pass that the graph was printed after.
    pub after: Option<String>,
}
