//! Numbers and tensors in the text form: elements written out, content hashes, and the fillers that tests write.

use super::INLINE;
use super::lex::quote;
use planc_tensor::{Bytes, DType, Tensor, View, bf16, element_count, f16};
use std::fmt::Write;

/// The hash of a constant as the text form shows it: the first 16 hex digits of BLAKE3 over element type, extents and
/// elements (strings with their lengths).
pub fn content_hash(t: &Tensor) -> String {
    let mut h = blake3::Hasher::new();
    h.update(t.dtype().name().as_bytes());
    h.update(&(t.rank() as u64).to_le_bytes());
    for d in t.shape() {
        h.update(&(*d as u64).to_le_bytes());
    }
    let view = t.view();
    h.update(view.bytes());
    for s in view.as_strings() {
        h.update(&(s.len() as u64).to_le_bytes()).update(s.as_bytes());
    }
    h.finalize().to_hex()[..16].to_string()
}

/// The shortest digits that read back as `v`, never mistaken for an integer.
pub(super) fn float32(v: f32) -> String {
    match v {
        v if v.is_nan() && v.to_bits() == f32::NAN.to_bits() => "nan".into(),
        v if v.is_nan() => format!("nan(0x{:x})", v.to_bits()),
        v => format!("{v:?}"),
    }
}

fn float64(v: f64) -> String {
    match v {
        v if v.is_nan() && v.to_bits() == f64::NAN.to_bits() => "nan".into(),
        v if v.is_nan() => format!("nan(0x{:x})", v.to_bits()),
        v => format!("{v:?}"),
    }
}

/// A 16-bit float through f32, which holds it exactly; NaN by its own bits.
fn float16(v: f32, bits: u16, plain_nan: u16) -> String {
    match v {
        v if v.is_nan() && bits == plain_nan => "nan".into(),
        v if v.is_nan() => format!("nan(0x{bits:x})"),
        v => format!("{v:?}"),
    }
}

/// The elements of a tensor: a list (one element for rank 0) or a hash.
pub(super) fn data(t: &Tensor) -> String {
    if t.len() > INLINE {
        return format!("#{}", content_hash(t));
    }
    match elements(t.view()) {
        Some(e) if t.rank() == 0 => e.concat(),
        Some(e) => format!("[{}]", e.join(", ")),
        None => {
            let mut out = String::from("hex \"");
            for b in t.view().bytes() {
                let _ = write!(out, "{b:02x}");
            }
            out + "\""
        }
    }
}

/// Every element as text; `None` for types without a notation of their own (8-bit floats, complex numbers).
fn elements(v: View<'_>) -> Option<Vec<String>> {
    Some(match v.dtype() {
        DType::F32 => v.to_vec::<f32>()?.into_iter().map(float32).collect(),
        DType::F64 => v.to_vec::<f64>()?.into_iter().map(float64).collect(),
        DType::F16 => {
            v.to_vec::<f16>()?.into_iter().map(|x| float16(x.to_f32(), x.to_bits(), f16::NAN.to_bits())).collect()
        }
        DType::BF16 => {
            v.to_vec::<bf16>()?.into_iter().map(|x| float16(x.to_f32(), x.to_bits(), bf16::NAN.to_bits())).collect()
        }
        DType::U64 => v.to_vec::<u64>()?.iter().map(u64::to_string).collect(),
        DType::Bool => v.to_vec::<bool>()?.iter().map(bool::to_string).collect(),
        DType::String => v.as_strings().iter().map(|s| quote(s)).collect(),
        d if d.is_int() => v.to_i64()?.iter().map(i64::to_string).collect(),
        _ => return None,
    })
}

/// An element as the parser read it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Element {
    /// A number as written.
    Num(String),
    /// A NaN with these bits.
    Nan(u64),
    /// A quoted string.
    Str(String),
}

impl Element {
    fn text(&self) -> Result<&str, String> {
        match self {
            Element::Num(n) => Ok(n),
            Element::Nan(_) => Err("a NaN is not an element of this type".into()),
            Element::Str(_) => Err("a string is not an element of this type".into()),
        }
    }

    /// The number as a 32-bit float.
    pub(super) fn f32(&self) -> Result<f32, String> {
        match self {
            Element::Nan(bits) => nan(*bits, f32::from_bits, u32::try_from(*bits).ok(), f32::is_nan),
            _ => self.parsed(),
        }
    }

    fn f64(&self) -> Result<f64, String> {
        match self {
            Element::Nan(bits) => nan(*bits, f64::from_bits, Some(*bits), f64::is_nan),
            _ => self.parsed(),
        }
    }

    fn bool(&self) -> Result<bool, String> {
        self.parsed()
    }

    fn parsed<T: std::str::FromStr>(&self) -> Result<T, String> {
        let text = self.text()?;
        text.parse().map_err(|_| format!("`{text}` is not an element of this type"))
    }
}

fn nan<B, T>(bits: u64, make: fn(B) -> T, narrow: Option<B>, is_nan: fn(T) -> bool) -> Result<T, String>
where
    T: Copy,
{
    let v = narrow.map(make).filter(|v| is_nan(*v));
    v.ok_or_else(|| format!("0x{bits:x} is not a NaN of this type"))
}

/// A tensor of written elements.
pub(super) fn tensor_of(dtype: DType, shape: &[usize], elements: &[Element]) -> Result<Tensor, String> {
    let count = element_count(shape).ok_or("the shape is too large")?;
    if count != elements.len() {
        return Err(format!("the shape has {count} elements, the list {}", elements.len()));
    }
    macro_rules! parsed {
        ($t:ty) => {
            Tensor::new(shape, elements.iter().map(Element::parsed::<$t>).collect::<Result<Vec<_>, _>>()?)
        };
    }
    let half = |e: &Element, from: fn(f32) -> u16| match e {
        Element::Nan(bits) => u16::try_from(*bits).map_err(|_| format!("0x{bits:x} is not a 16-bit NaN")),
        e if e.text() == Ok("nan") => Ok(from(f32::NAN)),
        e => Ok(from(e.f32()?)),
    };
    let t = match dtype {
        DType::F32 => Tensor::new(shape, elements.iter().map(Element::f32).collect::<Result<Vec<_>, _>>()?),
        DType::F64 => Tensor::new(shape, elements.iter().map(Element::f64).collect::<Result<Vec<_>, _>>()?),
        DType::F16 => {
            let from = |v: f32| if v.is_nan() { f16::NAN.to_bits() } else { f16::from_f32(v).to_bits() };
            let bits = elements.iter().map(|e| half(e, from)).collect::<Result<Vec<_>, _>>()?;
            Tensor::new(shape, bits.into_iter().map(f16::from_bits).collect())
        }
        DType::BF16 => {
            let from = |v: f32| if v.is_nan() { bf16::NAN.to_bits() } else { bf16::from_f32(v).to_bits() };
            let bits = elements.iter().map(|e| half(e, from)).collect::<Result<Vec<_>, _>>()?;
            Tensor::new(shape, bits.into_iter().map(bf16::from_bits).collect())
        }
        DType::Bool => Tensor::new(shape, elements.iter().map(Element::bool).collect::<Result<Vec<_>, _>>()?),
        DType::String => {
            let strings = elements.iter().map(|e| match e {
                Element::Str(s) => Ok(s.clone()),
                _ => Err("expected a string".to_string()),
            });
            Tensor::from_strings(shape, strings.collect::<Result<Vec<_>, _>>()?)
        }
        DType::U8 => parsed!(u8),
        DType::I8 => parsed!(i8),
        DType::U16 => parsed!(u16),
        DType::I16 => parsed!(i16),
        DType::I32 => parsed!(i32),
        DType::I64 => parsed!(i64),
        DType::U32 => parsed!(u32),
        DType::U64 => parsed!(u64),
        DType::I4 | DType::U4 | DType::I2 | DType::U2 => {
            let values = elements.iter().map(Element::parsed::<i64>).collect::<Result<Vec<_>, _>>()?;
            return packed(dtype, shape, &values);
        }
        _ => return Err(format!("elements of {dtype} are written as `hex \"..\"`")),
    };
    t.map_err(|e| e.to_string())
}

/// The range of an integer type of up to 32 bits.
fn int_range(dtype: DType) -> (i64, i64) {
    let bits = dtype.bits().clamp(1, 32) as u32;
    if dtype.is_unsigned() { (0, (1 << bits) - 1) } else { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) }
}

/// A tensor of 2- or 4-bit integers, packed low bits first.
fn packed(dtype: DType, shape: &[usize], values: &[i64]) -> Result<Tensor, String> {
    let (low, high) = int_range(dtype);
    let per_byte = 8 / dtype.bits();
    let mut bytes = vec![0u8; values.len().div_ceil(per_byte)];
    for (i, v) in values.iter().enumerate() {
        if !(low..=high).contains(v) {
            return Err(format!("{v} is not an element of {dtype}"));
        }
        let mask = (1u8 << dtype.bits()) - 1;
        bytes[i / per_byte] |= (*v as u8 & mask) << (dtype.bits() * (i % per_byte));
    }
    Tensor::from_bytes(dtype, shape, Bytes::new(bytes)).map_err(|e| e.to_string())
}

/// A tensor of bytes in hex.
pub(super) fn from_hex(dtype: DType, shape: &[usize], hex: &str) -> Result<Tensor, String> {
    let digits: Option<Vec<u8>> = hex.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect();
    let digits = digits.filter(|d| d.len().is_multiple_of(2)).ok_or("expected pairs of hex digits")?;
    let bytes: Vec<u8> = digits.chunks(2).map(|p| p[0] << 4 | p[1]).collect();
    Tensor::from_bytes(dtype, shape, Bytes::new(bytes)).map_err(|e| e.to_string())
}

/// Every element the same.
pub(super) fn splat(dtype: DType, shape: &[usize], element: &Element) -> Result<Tensor, String> {
    let count = element_count(shape).ok_or("the shape is too large")?;
    tensor_of(dtype, shape, &vec![element.clone(); count])
}

/// Elements that only depend on `seed` and their position: floats in [-1, 1), integers in -8..8 (as far as the type has
/// them), bools (Steele, Lea and Flood 2014: SplitMix64).
pub(super) fn seeded(dtype: DType, shape: &[usize], seed: u64) -> Result<Tensor, String> {
    let count = element_count(shape).ok_or("the shape is too large")?;
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    // 24 bits: exact in f32, rounded once in the 16-bit types.
    let mut unit = || (next() >> 40) as f32 / (1u32 << 23) as f32 - 1.0;
    let t = match dtype {
        DType::F32 => Tensor::new(shape, (0..count).map(|_| unit()).collect()),
        DType::F64 => Tensor::new(shape, (0..count).map(|_| f64::from(unit())).collect()),
        DType::F16 => Tensor::new(shape, (0..count).map(|_| f16::from_f32(unit())).collect()),
        DType::BF16 => Tensor::new(shape, (0..count).map(|_| bf16::from_f32(unit())).collect()),
        DType::Bool => Tensor::new(shape, (0..count).map(|_| next() & 1 == 1).collect()),
        d if d.is_int() => {
            let (low, high) = int_range(d);
            let (low, high) = (low.max(-8), high.min(7));
            let mut element = || low + (next() % (high - low + 1) as u64) as i64;
            if d.bits() < 8 {
                return packed(d, shape, &(0..count).map(|_| element()).collect::<Vec<_>>());
            }
            let size = d.bits() / 8;
            let bytes = (0..count).flat_map(|_| element().to_le_bytes().into_iter().take(size)).collect::<Vec<u8>>();
            Tensor::from_bytes(d, shape, Bytes::new(bytes))
        }
        d => return Err(format!("there is no filler for {d}")),
    };
    t.map_err(|e| e.to_string())
}
