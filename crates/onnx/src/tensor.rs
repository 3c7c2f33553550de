//! Tensor records to tensors.
//!
//! Guarantees: the bytes of a tensor are exactly what its dims and element type need, however they are stored; nothing is
//! allocated before that is known, except for sparse tensors, whose dense size is limited by
//! [`MAX_DENSE_BYTES`]. All element types of ONNX 1.23 up to float4 and the 2-bit integers are read.
//!
//! Storage rules: `TensorProto` in onnx.proto.

use crate::error::{Code, ImportError};
use crate::files::Files;
use crate::model::{SparseTensorRecord, TensorRecord};
use planc_tensor::{AlignedBuf, Bytes, Complex, DType, Element, Tensor, TensorError, element_count};

/// Largest dense form of a sparse tensor.
pub const MAX_DENSE_BYTES: usize = 1 << 30;
/// Most dimensions of a tensor.
pub const MAX_RANK: usize = 255;

/// The element type with ONNX number `code`.
///
/// # Errors
/// [`Code::ElementType`] when it is undefined or unknown.
pub fn element_type(code: i32) -> Result<DType, ImportError> {
    DType::from_onnx(code).ok_or_else(|| match code {
        0 => ImportError::new(Code::ElementType, "the element type is undefined"),
        27 | 28 => ImportError::new(Code::UnsupportedFeature, "6-bit floating-point elements are not supported"),
        _ => ImportError::new(Code::ElementType, format!("unknown element type {code}")),
    })
}

/// Dims as extents.
///
/// # Errors
/// [`Code::TensorData`] when one is negative or there are more than [`MAX_RANK`].
pub fn extents(dims: &[i64]) -> Result<Vec<usize>, ImportError> {
    if dims.len() > MAX_RANK {
        return Err(ImportError::new(Code::TensorData, format!("{} dimensions, the most is {MAX_RANK}", dims.len())));
    }
    let extent = |d: &i64| {
        usize::try_from(*d).map_err(|_| ImportError::new(Code::TensorData, format!("the dim {d} is negative")))
    };
    dims.iter().map(extent).collect()
}

/// Reads a tensor; large vectors are moved out of the record.
///
/// # Errors
/// [`Code::ElementType`], [`Code::TensorData`], [`Code::ExternalData`] and [`Code::Io`], without a place.
pub fn dense(record: TensorRecord, files: &mut Files) -> Result<Tensor, ImportError> {
    let dtype = element_type(record.element)?;
    let shape = extents(&record.dims)?;
    let count = element_count(&shape).ok_or_else(|| too_large(&shape))?;
    check_fields(&record, dtype)?;
    if dtype == DType::String {
        return typed(record, dtype, shape, count);
    }
    let need = dtype.bytes_for(count).filter(|n| isize::try_from(*n).is_ok()).ok_or_else(|| too_large(&shape))?;
    let align = dtype.size().unwrap_or(1).min(8);
    if record.is_external {
        let at = files.external_ref(&record.external)?;
        let bytes = files.external(&at, need, align)?;
        return Tensor::from_bytes(dtype, shape, bytes).map_err(fit);
    }
    // `raw_data` that is present but empty says nothing when there are typed values.
    if let Some(span) = record.raw.clone().filter(|span| !span.is_empty() || typed_len(&record) == 0) {
        if span.len() != need {
            return Err(fit(TensorError::Length { dtype, shape, need, have: span.len() }));
        }
        return Tensor::from_bytes(dtype, shape, files.inline(span, align)?).map_err(fit);
    }
    typed(record, dtype, shape, count)
}

fn too_large(shape: &[usize]) -> ImportError {
    fit(TensorError::TooLarge(shape.to_vec()))
}

fn fit(error: TensorError) -> ImportError {
    ImportError::new(Code::TensorData, error.to_string())
}

fn typed_len(r: &TensorRecord) -> usize {
    r.float_data.len()
        + r.int32_data.len()
        + r.string_data.len()
        + r.int64_data.len()
        + r.double_data.len()
        + r.uint64_data.len()
}

/// The field that holds typed values of `dtype`.
fn field_of(dtype: DType) -> &'static str {
    use DType::*;
    match dtype {
        F32 | C64 => "float_data",
        F64 | C128 => "double_data",
        I64 => "int64_data",
        U32 | U64 => "uint64_data",
        String => "string_data",
        U8 | I8 | U16 | I16 | I32 | Bool | F16 | BF16 | F8E4M3FN | F8E4M3FNUZ | F8E5M2 | F8E5M2FNUZ | F8E8M0 | U4
        | I4 | F4E2M1 | U2 | I2 => "int32_data",
    }
}

/// Values may sit in one place only, and in the right one.
fn check_fields(r: &TensorRecord, dtype: DType) -> Result<(), ImportError> {
    let error = |message: String| Err(ImportError::new(Code::TensorData, message));
    let raw = r.raw.as_ref().is_some_and(|span| !span.is_empty());
    if r.is_external && (raw || typed_len(r) > 0) {
        return error("the tensor has external data and data of its own".into());
    }
    if raw && typed_len(r) > 0 {
        return error("the tensor has both raw and typed data".into());
    }
    if dtype == DType::String && (raw || r.is_external) {
        return error("strings cannot be stored as raw or external data".into());
    }
    let fields = [
        ("float_data", r.float_data.len()),
        ("int32_data", r.int32_data.len()),
        ("string_data", r.string_data.len()),
        ("int64_data", r.int64_data.len()),
        ("double_data", r.double_data.len()),
        ("uint64_data", r.uint64_data.len()),
    ];
    let right = field_of(dtype);
    match fields.iter().find(|(name, len)| *len > 0 && *name != right) {
        Some((name, _)) => error(format!("the values sit in {name}, those of {dtype} belong in {right}")),
        None => Ok(()),
    }
}

fn strings(record: TensorRecord, shape: Vec<usize>) -> Result<Tensor, ImportError> {
    let text = |(i, bytes)| {
        String::from_utf8(bytes)
            .map_err(|_| ImportError::new(Code::Utf8, format!("the string of element {i} is not valid UTF-8")))
    };
    let strings = record.string_data.into_iter().enumerate().map(text).collect::<Result<_, _>>()?;
    Tensor::from_strings(shape, strings).map_err(fit)
}

fn typed(r: TensorRecord, dtype: DType, shape: Vec<usize>, count: usize) -> Result<Tensor, ImportError> {
    use DType::*;
    // Entries of the typed field: two per complex number, one per byte of packed elements.
    let entries = match dtype {
        C64 | C128 => count.checked_mul(2).ok_or_else(|| too_large(&shape))?,
        U4 | I4 | F4E2M1 | U2 | I2 => dtype.bytes_for(count).ok_or_else(|| too_large(&shape))?,
        _ => count,
    };
    let have = typed_len(&r);
    if have != entries {
        return Err(ImportError::new(
            Code::TensorData,
            format!("shape {shape:?} of {dtype} needs {entries} values in {}, there are {have}", field_of(dtype)),
        ));
    }
    match dtype {
        F32 => Tensor::new(shape, r.float_data),
        F64 => Tensor::new(shape, r.double_data),
        I64 => Tensor::new(shape, r.int64_data),
        I32 => Tensor::new(shape, r.int32_data),
        U64 => Tensor::new(shape, r.uint64_data),
        C64 => Tensor::new(shape, pairs(&r.float_data)),
        C128 => Tensor::new(shape, pairs(&r.double_data)),
        U32 => Tensor::new(shape, narrow::<u64, u32>(&r.uint64_data, dtype)?),
        I8 => Tensor::new(shape, narrow::<i32, i8>(&r.int32_data, dtype)?),
        U8 => Tensor::new(shape, narrow::<i32, u8>(&r.int32_data, dtype)?),
        I16 => Tensor::new(shape, narrow::<i32, i16>(&r.int32_data, dtype)?),
        U16 => Tensor::new(shape, narrow::<i32, u16>(&r.int32_data, dtype)?),
        Bool => Tensor::new(shape, r.int32_data.iter().map(|v| *v != 0).collect::<Vec<bool>>()),
        F16 | BF16 => {
            let bits = bit_patterns(&r.int32_data, 16, dtype)?;
            Tensor::from_bytes(dtype, shape, Bytes::new(LittleEndian(bits)))
        }
        F8E4M3FN | F8E4M3FNUZ | F8E5M2 | F8E5M2FNUZ | F8E8M0 | U4 | I4 | F4E2M1 | U2 | I2 => {
            let bits = bit_patterns(&r.int32_data, 8, dtype)?;
            Tensor::from_bytes(dtype, shape, Bytes::new(bits.into_iter().map(|b| b as u8).collect::<Vec<u8>>()))
        }
        String => return strings(r, shape),
    }
    .map_err(fit)
}

/// Elements whose native bytes are the stored ones (all supported hosts are little-endian).
struct LittleEndian(Vec<u16>);

impl AsRef<[u8]> for LittleEndian {
    fn as_ref(&self) -> &[u8] {
        u16::to_bytes(&self.0)
    }
}

fn pairs<T: Copy>(values: &[T]) -> Vec<Complex<T>> {
    values.as_chunks::<2>().0.iter().map(|[re, im]| Complex { re: *re, im: *im }).collect()
}

fn narrow<A: Copy + std::fmt::Display, B: TryFrom<A>>(values: &[A], dtype: DType) -> Result<Vec<B>, ImportError> {
    values.iter().map(|v| B::try_from(*v).map_err(|_| out_of_range(v, dtype))).collect()
}

fn out_of_range(value: impl std::fmt::Display, dtype: DType) -> ImportError {
    ImportError::new(Code::TensorData, format!("the value {value} does not fit {dtype}"))
}

/// Bit patterns of `bits` bits, which writers store zero- or sign-extended.
fn bit_patterns(values: &[i32], bits: u32, dtype: DType) -> Result<Vec<u16>, ImportError> {
    let range = -(1 << (bits - 1))..1 << bits;
    let pattern = |v: &i32| {
        if range.contains(v) { Ok((*v & ((1 << bits) - 1)) as u16) } else { Err(out_of_range(v, dtype)) }
    };
    values.iter().map(pattern).collect()
}

/// Reads a sparse tensor into its dense form.
///
/// # Errors
/// Those of [`dense`]; [`Code::TensorData`] for indices out of range or out of order; [`Code::TensorLimit`].
pub fn sparse(record: SparseTensorRecord, files: &mut Files) -> Result<Tensor, ImportError> {
    let error = |message: String| ImportError::new(Code::TensorData, message);
    let values = record.values.ok_or_else(|| error("the sparse tensor has no values".into()))?;
    let shape = extents(&record.dims)?;
    let values = dense(values, files)?;
    let dtype = values.dtype();
    let Some(size) = dtype.size() else {
        return Err(ImportError::new(Code::UnsupportedFeature, format!("sparse tensors of {dtype} are not supported")));
    };
    let bytes = element_count(&shape).and_then(|n| dtype.bytes_for(n)).ok_or_else(|| too_large(&shape))?;
    if bytes > MAX_DENSE_BYTES {
        return Err(ImportError::new(
            Code::TensorLimit,
            format!("the sparse tensor takes {bytes} bytes when it is dense, the most is {MAX_DENSE_BYTES}"),
        ));
    }
    if values.rank() != 1 {
        return Err(error(format!("the values of a sparse tensor have rank {}, expected 1", values.rank())));
    }
    let indices = match record.indices {
        Some(indices) => dense(indices, files)?,
        // Only a tensor without values can do without indices.
        None if values.is_empty() => Tensor::vector(Vec::<i64>::new()),
        None => return Err(error("the sparse tensor has no indices".into())),
    };
    let numbers = indices
        .view()
        .to_vec::<i64>()
        .ok_or_else(|| error(format!("the indices of a sparse tensor are {}, expected i64", indices.dtype())))?;
    // How many numbers make one index: 1 for linear indices, the rank for coordinates.
    let per_index = match indices.shape() {
        [n] if *n == values.len() => 1,
        [n, rank] if *n == values.len() && *rank == shape.len() => shape.len(),
        other => {
            return Err(error(format!(
                "the indices of a sparse tensor have the shape {other:?}, expected [{n}] or [{n}, {}]",
                shape.len(),
                n = values.len()
            )));
        }
    };
    let mut dense = AlignedBuf::zeroed(bytes);
    let count = bytes / size;
    let stored = values.view();
    let mut previous = None;
    for i in 0..values.len() {
        let index = &numbers[i * per_index..(i + 1) * per_index];
        let outside = || error(format!("the index {index:?} of a sparse tensor is outside of its shape {shape:?}"));
        let linear = if indices.rank() == 1 {
            usize::try_from(index[0]).ok().filter(|at| *at < count).ok_or_else(outside)?
        } else {
            let mut at = 0usize;
            for (i, extent) in index.iter().zip(&shape) {
                let i = usize::try_from(*i).ok().filter(|i| i < extent).ok_or_else(outside)?;
                at = at * extent + i;
            }
            at
        };
        if previous.is_some_and(|p| p >= linear) {
            return Err(error(format!("the index {index:?} of a sparse tensor is not above the one before it")));
        }
        previous = Some(linear);
        dense.as_mut_slice()[linear * size..][..size].copy_from_slice(&stored.bytes()[i * size..][..size]);
    }
    Tensor::from_bytes(dtype, shape, Bytes::new(dense)).map_err(fit)
}
