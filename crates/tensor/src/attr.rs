//! Attribute values of nodes. Graph-valued attributes are not values: they are subgraphs of a node.

use crate::Tensor;
use serde::{Deserialize, Serialize};

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Attr {
    /// A 64-bit integer.
    Int(i64),
    /// A 32-bit float.
    Float(f32),
    /// Text; ONNX's byte strings are text in every operator that has one.
    Str(String),
    /// Integers.
    Ints(Vec<i64>),
    /// Floats.
    Floats(Vec<f32>),
    /// Texts.
    Strs(Vec<String>),
    /// A tensor.
    Tensor(Tensor),
}

impl Attr {
    /// The name of the value's kind, as in messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Attr::Int(_) => "int",
            Attr::Float(_) => "float",
            Attr::Str(_) => "string",
            Attr::Ints(_) => "ints",
            Attr::Floats(_) => "floats",
            Attr::Strs(_) => "strings",
            Attr::Tensor(_) => "tensor",
        }
    }
}

macro_rules! from {
    ($($t:ty => $v:ident),*) => {$(impl From<$t> for Attr { fn from(v: $t) -> Attr { Attr::$v(v) } })*};
}
from!(i64 => Int, f32 => Float, String => Str, Vec<i64> => Ints, Vec<f32> => Floats, Vec<String> => Strs, Tensor => Tensor);

impl From<&str> for Attr {
    fn from(v: &str) -> Attr {
        Attr::Str(v.to_string())
    }
}
