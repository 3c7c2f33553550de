//! Borrowed tensors: what operators read, whoever owns the bytes (an arena, a plan, a [`Tensor`](crate::Tensor)).

use crate::{DType, Element, Tensor, element_count};

/// Where a view's elements are.
#[derive(Clone, Copy, Debug)]
pub enum ViewData<'a> {
    /// Packed little-endian elements.
    Bytes(&'a [u8]),
    /// One string per element.
    Strings(&'a [String]),
}

/// A borrowed tensor: dtype, shape, row-major elements.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    dtype: DType,
    shape: &'a [usize],
    data: ViewData<'a>,
}

impl<'a> View<'a> {
    /// A view of `bytes`; `None` unless the length is what dtype and shape need.
    pub fn new(dtype: DType, shape: &'a [usize], bytes: &'a [u8]) -> Option<View<'a>> {
        let need = dtype.bytes_for(element_count(shape)?)?;
        (need == bytes.len()).then_some(View { dtype, shape, data: ViewData::Bytes(bytes) })
    }

    /// A view of strings; `None` unless there is one per element.
    pub fn strings(shape: &'a [usize], strings: &'a [String]) -> Option<View<'a>> {
        let fits = element_count(shape)? == strings.len();
        fits.then_some(View { dtype: DType::String, shape, data: ViewData::Strings(strings) })
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Extents, outermost first; empty for a scalar.
    pub fn shape(&self) -> &'a [usize] {
        self.shape
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        // Some extents may be huge beside a 0; that the count fits was checked on construction.
        element_count(self.shape).unwrap_or(0)
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.shape.contains(&0)
    }

    /// Where the elements are.
    pub fn data(&self) -> ViewData<'a> {
        self.data
    }

    /// The packed bytes; empty for strings.
    pub fn bytes(&self) -> &'a [u8] {
        match self.data {
            ViewData::Bytes(b) => b,
            ViewData::Strings(_) => &[],
        }
    }

    /// The strings of a string tensor; empty for others.
    pub fn as_strings(&self) -> &'a [String] {
        match self.data {
            ViewData::Bytes(_) => &[],
            ViewData::Strings(s) => s,
        }
    }

    /// The elements as `T`, borrowed; `None` when the dtype is another or the bytes are not aligned for `T`.
    pub fn as_slice<T: Element>(&self) -> Option<&'a [T]> {
        if self.dtype != T::DTYPE {
            return None;
        }
        T::from_bytes(self.bytes())
    }

    /// The elements as `T`, copied; `None` when the dtype is another. Works on unaligned bytes.
    pub fn to_vec<T: Element>(&self) -> Option<Vec<T>> {
        if let Some(s) = self.as_slice::<T>() {
            return Some(s.to_vec());
        }
        if self.dtype != T::DTYPE {
            return None;
        }
        let mut aligned = crate::AlignedBuf::zeroed(self.bytes().len());
        aligned.as_mut_slice().copy_from_slice(self.bytes());
        T::from_bytes(aligned.as_ref()).map(<[T]>::to_vec)
    }

    /// The elements of an integer or boolean tensor widened to `i64` (u64 above `i64::MAX` saturates); `None` for others.
    pub fn to_i64(&self) -> Option<Vec<i64>> {
        macro_rules! widen {
            ($($d:ident => $t:ty),*) => {
                match self.dtype {
                    $(DType::$d => self.to_vec::<$t>()?.into_iter().map(|v| i64::try_from(v).unwrap_or(i64::MAX)).collect(),)*
                    DType::Bool => self.to_vec::<bool>()?.into_iter().map(i64::from).collect(),
                    DType::I4 | DType::U4 | DType::I2 | DType::U2 => self.unpack_sub_byte()?.into_iter().map(i64::from).collect(),
                    _ => return None,
                }
            };
        }
        Some(widen!(U8 => u8, I8 => i8, U16 => u16, I16 => i16, I32 => i32, I64 => i64, U32 => u32, U64 => u64))
    }

    /// The elements of a 2- or 4-bit integer tensor, sign-extended for signed types; `None` for others.
    pub fn unpack_sub_byte(&self) -> Option<Vec<i8>> {
        let bits = self.dtype.bits();
        let signed = match self.dtype {
            DType::I4 | DType::I2 => true,
            DType::U4 | DType::U2 => false,
            _ => return None,
        };
        let per_byte = 8 / bits;
        let element = |i: usize| {
            let raw = (self.bytes()[i / per_byte] >> (bits * (i % per_byte))) & ((1 << bits) - 1);
            if signed { ((raw << (8 - bits)) as i8) >> (8 - bits) } else { raw as i8 }
        };
        Some((0..self.len()).map(element).collect())
    }

    /// An owned copy.
    pub fn to_tensor(&self) -> Tensor {
        match self.data {
            ViewData::Bytes(b) => {
                let mut buf = crate::AlignedBuf::zeroed(b.len());
                buf.as_mut_slice().copy_from_slice(b);
                Tensor::from_parts(self.dtype, self.shape.to_vec(), crate::Bytes::new(buf))
            }
            ViewData::Strings(s) => Tensor::from_string_parts(self.shape.to_vec(), s.to_vec()),
        }
    }
}
