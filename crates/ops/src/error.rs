//! Errors of operators: what is wrong with a node, and where it is.

use std::fmt;

/// What kind of mistake an [`OpError`] reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ErrorKind {
    /// An attribute is missing, unknown, or has a wrong value.
    Attribute,
    /// Wrong number of operands or results.
    Arity,
    /// An element type that the operator does not take, or types that contradict each other.
    Type,
    /// Shapes that do not fit each other or the attributes.
    Shape,
    /// An index or value out of range, known only when it runs.
    Value,
    /// Valid ONNX that planc does not do.
    Unsupported,
    /// A size beyond what is allowed.
    Limit,
}

/// What is wrong, in one sentence without the place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct OpError {
    /// Kind of mistake.
    pub kind: ErrorKind,
    /// Lower case, no full stop.
    pub message: String,
}

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $kind:ident,)*) => {
        impl OpError {
            $($(#[$doc])* pub fn $name(message: impl Into<String>) -> OpError {
                OpError { kind: ErrorKind::$kind, message: message.into() }
            })*
        }
    };
}

constructors! {
    /// A wrong attribute.
    attribute => Attribute,
    /// A wrong number of operands or results.
    arity => Arity,
    /// A wrong element type.
    type_ => Type,
    /// Shapes that do not fit.
    shape => Shape,
    /// A value out of range.
    value => Value,
    /// Something planc does not do.
    unsupported => Unsupported,
    /// Something too large.
    limit => Limit,
}

impl From<planc_tensor::TensorError> for OpError {
    fn from(e: planc_tensor::TensorError) -> OpError {
        OpError::limit(e.to_string())
    }
}

/// An [`OpError`] with its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeError {
    /// The ONNX node's name; where it has none, its first result's.
    pub node: String,
    /// Operator.
    pub op: String,
    /// Opset version imported for its domain.
    pub opset: u32,
    /// Operand types, as printed.
    pub operands: Vec<String>,
    /// What is wrong.
    pub error: OpError,
}

impl fmt::Display for NodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {:?} ({}, opset {}): {}", self.node, self.op, self.opset, self.error)?;
        if self.operands.is_empty() { Ok(()) } else { write!(f, " [operands: {}]", self.operands.join(", ")) }
    }
}

impl std::error::Error for NodeError {}
