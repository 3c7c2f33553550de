//! Owned (shared) tensors.

use crate::{Bytes, DType, Element, View, element_count};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Why bytes and a shape do not make a tensor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// The element count or byte count overflows.
    #[error("shape {0:?} has too many elements")]
    TooLarge(Vec<usize>),
    /// The data is longer or shorter than the shape needs.
    #[error("shape {shape:?} of {dtype} needs {need} bytes, the data has {have}")]
    Length {
        /// Element type.
        dtype: DType,
        /// Extents.
        shape: Vec<usize>,
        /// Bytes needed.
        need: usize,
        /// Bytes given.
        have: usize,
    },
}

#[derive(Clone, Debug)]
enum Data {
    Bytes(Bytes),
    Strings(Arc<[String]>),
}

/// What is stored of a tensor.
#[derive(Serialize, Deserialize)]
struct Stored {
    dtype: DType,
    shape: Vec<usize>,
    bytes: Vec<u8>,
    strings: Vec<String>,
}

impl From<Tensor> for Stored {
    fn from(t: Tensor) -> Stored {
        let (bytes, strings) = match &t.data {
            Data::Bytes(b) => (b.as_slice().to_vec(), vec![]),
            Data::Strings(s) => (vec![], s.to_vec()),
        };
        Stored { dtype: t.dtype, shape: t.shape, bytes, strings }
    }
}

impl TryFrom<Stored> for Tensor {
    type Error = TensorError;
    fn try_from(s: Stored) -> Result<Tensor, TensorError> {
        match s.dtype {
            DType::String => Tensor::from_strings(s.shape, s.strings),
            dtype => Tensor::from_bytes(dtype, s.shape, Bytes::new(s.bytes)),
        }
    }
}

/// A tensor: dtype, shape, row-major elements. Cloning shares the elements.
///
/// Sub-byte elements are packed low bits first, as ONNX packs them; booleans are bytes 0 or 1.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(into = "Stored", try_from = "Stored")]
pub struct Tensor {
    dtype: DType,
    shape: Vec<usize>,
    data: Data,
}

impl Tensor {
    /// A tensor of `elements`.
    ///
    /// # Errors
    /// When `shape` does not have that many elements.
    pub fn new<T: Element>(shape: impl Into<Vec<usize>>, elements: Vec<T>) -> Result<Tensor, TensorError> {
        let shape = shape.into();
        let have = size_of_val(elements.as_slice());
        let need = bytes_needed(T::DTYPE, &shape)?;
        if need != have {
            return Err(TensorError::Length { dtype: T::DTYPE, shape, need, have });
        }
        Ok(Tensor { dtype: T::DTYPE, shape, data: Data::Bytes(Bytes::new(VecBytes(elements))) })
    }

    /// A tensor over little-endian bytes, without copying them unless booleans other than 0 and 1 must be normalised.
    ///
    /// # Errors
    /// When the length is not what dtype and shape need, or the dtype is string.
    pub fn from_bytes(dtype: DType, shape: impl Into<Vec<usize>>, bytes: Bytes) -> Result<Tensor, TensorError> {
        let shape = shape.into();
        let need = bytes_needed(dtype, &shape)?;
        if need != bytes.len() {
            return Err(TensorError::Length { dtype, shape, need, have: bytes.len() });
        }
        if dtype == DType::Bool && bytes.as_slice().iter().any(|b| *b > 1) {
            let normal: Vec<u8> = bytes.as_slice().iter().map(|b| u8::from(*b != 0)).collect();
            return Ok(Tensor::from_parts(dtype, shape, Bytes::new(normal)));
        }
        Ok(Tensor::from_parts(dtype, shape, bytes))
    }

    /// A tensor of strings.
    ///
    /// # Errors
    /// When `shape` does not have that many elements.
    pub fn from_strings(shape: impl Into<Vec<usize>>, strings: Vec<String>) -> Result<Tensor, TensorError> {
        let shape = shape.into();
        let need = element_count(&shape).ok_or_else(|| TensorError::TooLarge(shape.clone()))?;
        if need != strings.len() {
            return Err(TensorError::Length { dtype: DType::String, shape, need, have: strings.len() });
        }
        Ok(Tensor::from_string_parts(shape, strings))
    }

    /// A rank-0 tensor.
    pub fn scalar<T: Element>(value: T) -> Tensor {
        Tensor { dtype: T::DTYPE, shape: vec![], data: Data::Bytes(Bytes::new(VecBytes(vec![value]))) }
    }

    /// A rank-1 tensor.
    pub fn vector<T: Element>(elements: Vec<T>) -> Tensor {
        let shape = vec![elements.len()];
        Tensor { dtype: T::DTYPE, shape, data: Data::Bytes(Bytes::new(VecBytes(elements))) }
    }

    /// All bits zero: zeros, `false`, empty strings.
    ///
    /// # Errors
    /// When the size overflows.
    pub fn zeros(dtype: DType, shape: impl Into<Vec<usize>>) -> Result<Tensor, TensorError> {
        let shape = shape.into();
        if dtype == DType::String {
            let count = element_count(&shape).ok_or_else(|| TensorError::TooLarge(shape.clone()))?;
            return Ok(Tensor::from_string_parts(shape, vec![String::new(); count]));
        }
        let need = bytes_needed(dtype, &shape)?;
        Ok(Tensor::from_parts(dtype, shape, Bytes::new(crate::AlignedBuf::zeroed(need))))
    }

    pub(crate) fn from_parts(dtype: DType, shape: Vec<usize>, bytes: Bytes) -> Tensor {
        Tensor { dtype, shape, data: Data::Bytes(bytes) }
    }

    pub(crate) fn from_string_parts(shape: Vec<usize>, strings: Vec<String>) -> Tensor {
        Tensor { dtype: DType::String, shape, data: Data::Strings(strings.into()) }
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Extents, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        // Some extents may be huge beside a 0; that the count fits was checked on construction.
        element_count(&self.shape).unwrap_or(0)
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.shape.contains(&0)
    }

    /// Bytes of the elements (for strings: of their text).
    pub fn byte_len(&self) -> usize {
        match &self.data {
            Data::Bytes(b) => b.len(),
            Data::Strings(s) => s.iter().map(String::len).sum(),
        }
    }

    /// The shared bytes; `None` for strings.
    pub fn shared_bytes(&self) -> Option<&Bytes> {
        match &self.data {
            Data::Bytes(b) => Some(b),
            Data::Strings(_) => None,
        }
    }

    /// The tensor, borrowed.
    pub fn view(&self) -> View<'_> {
        let view = match &self.data {
            Data::Bytes(b) => View::new(self.dtype, &self.shape, b.as_slice()),
            Data::Strings(s) => View::strings(&self.shape, s),
        };
        view.expect("this is a bug: a tensor's bytes fit its shape by construction")
    }

    /// The elements as `T`; `None` when the dtype is another or the bytes are not aligned (see [`View::to_vec`]).
    pub fn as_slice<T: Element>(&self) -> Option<&[T]> {
        self.view().as_slice()
    }

    /// The same elements under another shape.
    ///
    /// # Errors
    /// When `shape` has another element count.
    pub fn reshaped(&self, shape: impl Into<Vec<usize>>) -> Result<Tensor, TensorError> {
        let shape = shape.into();
        let count = element_count(&shape).ok_or_else(|| TensorError::TooLarge(shape.clone()))?;
        if count != self.len() {
            let need = self.dtype.bytes_for(count).unwrap_or(count);
            return Err(TensorError::Length { dtype: self.dtype, shape, need, have: self.byte_len() });
        }
        Ok(Tensor { dtype: self.dtype, shape, data: self.data.clone() })
    }
}

/// Bit-for-bit equality of dtype, shape and elements.
impl PartialEq for Tensor {
    fn eq(&self, other: &Tensor) -> bool {
        if self.dtype != other.dtype || self.shape != other.shape {
            return false;
        }
        match (&self.data, &other.data) {
            (Data::Bytes(a), Data::Bytes(b)) => a.as_slice() == b.as_slice(),
            (Data::Strings(a), Data::Strings(b)) => a == b,
            _ => false,
        }
    }
}

fn bytes_needed(dtype: DType, shape: &[usize]) -> Result<usize, TensorError> {
    let need = element_count(shape).and_then(|n| dtype.bytes_for(n));
    // A slice is at most isize::MAX bytes: anything beyond cannot be allocated.
    need.filter(|n| *n <= isize::MAX as usize).ok_or_else(|| TensorError::TooLarge(shape.to_vec()))
}

/// A vector of elements seen as bytes.
struct VecBytes<T>(Vec<T>);

impl<T: Element> AsRef<[u8]> for VecBytes<T> {
    fn as_ref(&self) -> &[u8] {
        T::to_bytes(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_checked() {
        assert!(Tensor::new(vec![2, 3], vec![0f32; 6]).is_ok());
        assert!(Tensor::new(vec![2, 3], vec![0f32; 5]).is_err());
        assert!(Tensor::zeros(DType::F32, vec![usize::MAX, 2]).is_err());
        let empty = Tensor::zeros(DType::I4, vec![usize::MAX, 2, 0]).unwrap();
        assert_eq!((empty.len(), empty.view().to_i64()), (0, Some(vec![])));
    }

    #[test]
    fn booleans_are_normalised() {
        let t = Tensor::from_bytes(DType::Bool, vec![3], Bytes::new(vec![0u8, 2, 255])).unwrap();
        assert_eq!(t.as_slice::<bool>().unwrap(), &[false, true, true]);
    }

    #[test]
    fn sub_byte_elements_unpack_low_bits_first() {
        let t = Tensor::from_bytes(DType::I4, vec![3], Bytes::new(vec![0xF1u8, 0x08])).unwrap();
        assert_eq!(t.view().unpack_sub_byte().unwrap(), [1, -1, -8]);
        assert_eq!(t.view().to_i64().unwrap(), [1, -1, -8]);
    }
}
