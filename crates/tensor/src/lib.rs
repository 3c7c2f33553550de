//! What a tensor is: element types, shared bytes, symbolic dims and attribute values.
//!
//! The lowest layer. Guarantees: a [`Tensor`]'s bytes always fit its dtype and shape, boolean bytes are 0 or 1, and
//! every size is computed with checked arithmetic. Deliberately absent: operators, file formats, devices.

mod attr;
mod buf;
mod dim;
mod dim_text;
mod dtype;
mod layout;
mod map;
mod round;
mod shape;
mod tensor;
mod value;
mod view;

pub use attr::Attr;
pub use buf::{AlignedBuf, Bytes};
pub use dim::{Atom, Dim};
pub use dim_text::{DimParseError, parse_dim};
pub use dtype::{DType, Element};
pub use layout::Layout;
pub use num_complex::Complex;
pub use round::{bf16_from_f64, f16_from_f64};
pub use shape::{broadcast, broadcast_strides, contiguous_strides, element_count};
pub use tensor::{Tensor, TensorError};
pub use value::{Map, NotMap, NotPacked, Value, pack, unpack};
pub use view::{View, ViewData};

pub use half::{bf16, f16};
