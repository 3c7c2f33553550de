//! Element types, with ONNX's names and numbers.

use crate::Complex;
use half::{bf16, f16};
use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! dtypes {
    ($($variant:ident = $code:literal, $name:literal, $bits:literal;)*) => {
        /// An element type. The discriminant is the number of ONNX's `TensorProto.DataType`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[repr(u8)]
        pub enum DType { $(#[doc = $name] $variant = $code,)* }

        impl DType {
            /// All element types, in the order of their ONNX numbers.
            pub const ALL: &'static [DType] = &[$(DType::$variant,)*];

            /// The short name used in the text form and in messages: `f32`, `i64`, `bool`.
            pub const fn name(self) -> &'static str {
                match self { $(DType::$variant => $name,)* }
            }

            /// Bits of one element; 0 for strings, which have no fixed size.
            pub const fn bits(self) -> usize {
                match self { $(DType::$variant => $bits,)* }
            }

            /// The element type with ONNX number `code`.
            pub const fn from_onnx(code: i32) -> Option<DType> {
                match code { $($code => Some(DType::$variant),)* _ => None }
            }
        }
    };
}

dtypes! {
    F32 = 1, "f32", 32;
    U8 = 2, "u8", 8;
    I8 = 3, "i8", 8;
    U16 = 4, "u16", 16;
    I16 = 5, "i16", 16;
    I32 = 6, "i32", 32;
    I64 = 7, "i64", 64;
    String = 8, "string", 0;
    Bool = 9, "bool", 8;
    F16 = 10, "f16", 16;
    F64 = 11, "f64", 64;
    U32 = 12, "u32", 32;
    U64 = 13, "u64", 64;
    C64 = 14, "c64", 64;
    C128 = 15, "c128", 128;
    BF16 = 16, "bf16", 16;
    F8E4M3FN = 17, "f8e4m3fn", 8;
    F8E4M3FNUZ = 18, "f8e4m3fnuz", 8;
    F8E5M2 = 19, "f8e5m2", 8;
    F8E5M2FNUZ = 20, "f8e5m2fnuz", 8;
    U4 = 21, "u4", 4;
    I4 = 22, "i4", 4;
    F4E2M1 = 23, "f4e2m1", 4;
    F8E8M0 = 24, "f8e8m0", 8;
    U2 = 25, "u2", 2;
    I2 = 26, "i2", 2;
}

impl DType {
    /// ONNX's number of this type.
    pub const fn onnx(self) -> i32 {
        self as i32
    }

    /// The type with this short name (see [`DType::name`]).
    pub fn from_name(name: &str) -> Option<DType> {
        DType::ALL.iter().copied().find(|t| t.name() == name)
    }

    /// Bytes of `count` elements, sub-byte elements packed; `None` for strings or on overflow.
    pub fn bytes_for(self, count: usize) -> Option<usize> {
        match self.bits() {
            0 => None,
            bits => Some(count.checked_mul(bits)?.div_ceil(8)),
        }
    }

    /// Bytes of one element of a whole-byte type; `None` for strings and sub-byte types.
    pub const fn size(self) -> Option<usize> {
        let bits = self.bits();
        if bits >= 8 { Some(bits / 8) } else { None }
    }

    /// Floating-point of any width.
    pub const fn is_float(self) -> bool {
        use DType::*;
        matches!(self, F32 | F16 | F64 | BF16 | F8E4M3FN | F8E4M3FNUZ | F8E5M2 | F8E5M2FNUZ | F8E8M0 | F4E2M1)
    }

    /// Signed or unsigned integer of any width (not bool).
    pub const fn is_int(self) -> bool {
        use DType::*;
        matches!(self, U8 | I8 | U16 | I16 | I32 | I64 | U32 | U64 | U4 | I4 | U2 | I2)
    }

    /// Unsigned integer of any width.
    pub const fn is_unsigned(self) -> bool {
        use DType::*;
        matches!(self, U8 | U16 | U32 | U64 | U4 | U2)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A Rust type that stores one element of a whole-byte dtype.
pub trait Element: Copy + Default + PartialEq + Send + Sync + fmt::Debug + 'static {
    /// The dtype this type stores.
    const DTYPE: DType;
    /// `bytes` as elements; `None` when the length, alignment or (bool) a bit pattern does not fit.
    fn from_bytes(bytes: &[u8]) -> Option<&[Self]>;
    /// The elements' bytes, native (little) endian.
    fn to_bytes(elements: &[Self]) -> &[u8];
}

macro_rules! elements {
    ($($t:ty => $d:ident),* $(,)?) => {$(
        impl Element for $t {
            const DTYPE: DType = DType::$d;
            fn from_bytes(bytes: &[u8]) -> Option<&[Self]> {
                if bytes.is_empty() { return Some(&[]); }
                bytemuck::checked::try_cast_slice(bytes).ok()
            }
            fn to_bytes(elements: &[Self]) -> &[u8] {
                bytemuck::cast_slice(elements)
            }
        }
    )*};
}
elements! {
    f32 => F32, u8 => U8, i8 => I8, u16 => U16, i16 => I16, i32 => I32, i64 => I64, bool => Bool, f16 => F16,
    f64 => F64, u32 => U32, u64 => U64, Complex<f32> => C64, Complex<f64> => C128, bf16 => BF16,
}
