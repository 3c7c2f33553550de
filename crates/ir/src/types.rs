//! Types of values.

use planc_tensor::{DType, Dim, Layout};
use std::fmt;

/// Element type, shape and layout of a tensor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TensorType {
    /// Element type.
    pub dtype: DType,
    /// Extents; `None` when not even the rank is known.
    pub shape: Option<Vec<Dim>>,
    /// Layout in memory.
    pub layout: Layout,
}

impl TensorType {
    /// A row-major tensor of known rank.
    pub fn new(dtype: DType, shape: Vec<Dim>) -> TensorType {
        TensorType { dtype, shape: Some(shape), layout: Layout::RowMajor }
    }

    /// A row-major tensor of unknown rank.
    pub fn unranked(dtype: DType) -> TensorType {
        TensorType { dtype, shape: None, layout: Layout::RowMajor }
    }

    /// A row-major tensor of constant extents.
    pub fn fixed(dtype: DType, shape: &[usize]) -> TensorType {
        TensorType::new(dtype, shape.iter().map(|d| Dim::from(*d)).collect())
    }

    /// Number of dimensions, if known.
    pub fn rank(&self) -> Option<usize> {
        self.shape.as_ref().map(Vec::len)
    }

    /// The extents, if all are constant.
    pub fn static_shape(&self) -> Option<Vec<usize>> {
        self.shape.as_ref()?.iter().map(Dim::as_usize).collect()
    }
}

/// The type of a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// A tensor.
    Tensor(TensorType),
    /// A list of values of one type.
    Sequence(Box<Type>),
    /// A value or nothing.
    Optional(Box<Type>),
    /// A map; [`planc_tensor::Map::has_types`] of its types.
    Map {
        /// Type of the keys.
        key: DType,
        /// Type of the values.
        value: DType,
    },
}

impl Type {
    /// The tensor type, if this is one.
    pub fn as_tensor(&self) -> Option<&TensorType> {
        match self {
            Type::Tensor(t) => Some(t),
            _ => None,
        }
    }
}

impl From<TensorType> for Type {
    fn from(t: TensorType) -> Type {
        Type::Tensor(t)
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.shape {
            None => write!(f, "{}[..]", self.dtype)?,
            Some(dims) => {
                let dims: Vec<String> = dims.iter().map(Dim::to_string).collect();
                write!(f, "{}[{}]", self.dtype, dims.join(","))?;
            }
        }
        match self.layout {
            Layout::RowMajor => Ok(()),
            layout => write!(f, "@{layout}"),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Tensor(t) => t.fmt(f),
            Type::Sequence(t) => write!(f, "seq({t})"),
            Type::Optional(t) => write!(f, "optional({t})"),
            Type::Map { key, value } => write!(f, "map({key},{value})"),
        }
    }
}
