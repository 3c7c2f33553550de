//! Tensors as lists of scalars.

use super::index::{flatten, indices};
use super::scalar::{Scalar, cast, decode8, encode8};
use super::{InterpError, Result, shape_error};
use planc_tensor::{Bytes, DType, Tensor, View, bf16, bf16_from_f64, element_count, f16, f16_from_f64};

/// A tensor of numbers.
#[derive(Clone, Debug)]
pub(super) struct Array {
    pub(super) dtype: DType,
    pub(super) shape: Vec<usize>,
    pub(super) data: Vec<Scalar>,
}

impl Array {
    /// The numbers of a view.
    pub(super) fn read(v: View<'_>) -> Result<Array> {
        let floats = |f: Option<Vec<f64>>| f.map(|f| f.into_iter().map(Scalar::Float).collect());
        let data = match v.dtype() {
            DType::F32 => floats(v.to_vec::<f32>().map(|x| x.into_iter().map(f64::from).collect())),
            DType::F64 => floats(v.to_vec::<f64>()),
            DType::F16 => floats(v.to_vec::<f16>().map(|x| x.into_iter().map(f16::to_f64).collect())),
            DType::BF16 => floats(v.to_vec::<bf16>().map(|x| x.into_iter().map(bf16::to_f64).collect())),
            DType::U64 => v.to_vec::<u64>().map(|x| x.into_iter().map(|v| Scalar::Int(v.into())).collect()),
            d if d.is_float() => floats(v.bytes().iter().map(|b| decode8(d, *b)).collect()),
            _ => v.to_i64().map(|x| x.into_iter().map(|v| Scalar::Int(v.into())).collect()),
        };
        let data: Vec<Scalar> =
            data.ok_or_else(|| InterpError::Unsupported(format!("{} is not interpreted", v.dtype())))?;
        Ok(Array { dtype: v.dtype(), shape: v.shape().to_vec(), data })
    }

    /// The element at `index`.
    pub(super) fn at(&self, index: &[usize]) -> Scalar {
        self.data[flatten(&self.shape, index)]
    }

    /// The element at `index` as a float.
    pub(super) fn float(&self, index: &[usize]) -> f64 {
        self.at(index).as_f64()
    }

    /// Repeated to `shape`.
    pub(super) fn broadcast(&self, shape: &[usize]) -> Result<Array> {
        if planc_tensor::broadcast(&self.shape, shape).as_deref() != Some(shape) {
            return shape_error(format!("{:?} does not broadcast to {shape:?}", self.shape));
        }
        let lead = shape.len() - self.shape.len();
        let own = |i: &[usize]| -> Vec<usize> {
            i[lead..].iter().zip(&self.shape).map(|(i, d)| if *d == 1 { 0 } else { *i }).collect()
        };
        let data = indices(shape).map(|i| self.at(&own(&i))).collect();
        Ok(Array { dtype: self.dtype, shape: shape.to_vec(), data })
    }

    /// Less the broadcast zero points, exactly: the elements may leave the range of their type.
    pub(super) fn less(mut self, zero: Option<&Array>) -> Result<Array> {
        let Some(zero) = zero else { return Ok(self) };
        if self.dtype.is_float() || zero.dtype.is_float() {
            return Err(InterpError::Type("zero points are of integers".into()));
        }
        let minus = Scalar::Int(-1);
        let zero = zero.broadcast(&self.shape)?;
        self.data.iter_mut().zip(zero.data).for_each(|(v, z)| *v = v.plus(z.times(minus)));
        Ok(self)
    }

    /// Checks the extents.
    pub(super) fn expect(&self, shape: &[usize], what: &str) -> Result<()> {
        if self.shape == shape { Ok(()) } else { shape_error(format!("{what} is {:?}, not {shape:?}", self.shape)) }
    }

    /// Checks that the elements are floats.
    pub(super) fn expect_float(&self) -> Result<()> {
        if self.dtype.is_float() { Ok(()) } else { Err(InterpError::Type(format!("does not take {}", self.dtype))) }
    }
}

/// A tensor of `elements`, rounded (integers: wrapped) to `dtype`.
pub(super) fn write(dtype: DType, shape: &[usize], elements: Vec<Scalar>) -> Result<Tensor> {
    if element_count(shape) != Some(elements.len()) {
        return shape_error(format!("{} elements do not fill {shape:?}", elements.len()));
    }
    let mut ints = Vec::with_capacity(elements.len());
    let mut floats = Vec::with_capacity(elements.len());
    for e in elements {
        match cast(dtype, e)? {
            Scalar::Int(v) => ints.push(v),
            Scalar::Float(v) => floats.push(v),
        }
    }
    let int_bytes = |size: usize| ints.iter().flat_map(|v| v.to_le_bytes().into_iter().take(size)).collect::<Vec<u8>>();
    let tensor = match dtype {
        DType::F32 => Tensor::new(shape, floats.iter().map(|v| *v as f32).collect()),
        DType::F64 => Tensor::new(shape, floats),
        DType::F16 => Tensor::new(shape, floats.iter().map(|v| f16_from_f64(*v)).collect()),
        DType::BF16 => Tensor::new(shape, floats.iter().map(|v| bf16_from_f64(*v)).collect()),
        d if d.is_float() => {
            let bytes: Option<Vec<u8>> = floats.iter().map(|v| encode8(d, *v)).collect();
            let bytes = bytes.ok_or_else(|| InterpError::Unsupported(format!("{d} is not interpreted")))?;
            Tensor::from_bytes(d, shape, Bytes::new(bytes))
        }
        d => match d.size() {
            Some(size) => Tensor::from_bytes(d, shape, Bytes::new(int_bytes(size))),
            None => Tensor::from_bytes(d, shape, Bytes::new(pack(d, &ints))),
        },
    };
    tensor.map_err(|e| InterpError::Limit(e.to_string()))
}

/// Elements narrower than a byte, packed low bits first.
pub(super) fn pack(dtype: DType, elements: &[i128]) -> Vec<u8> {
    let bits = dtype.bits();
    let per_byte = 8 / bits.max(1);
    let mut bytes = vec![0u8; elements.len().div_ceil(per_byte)];
    for (i, v) in elements.iter().enumerate() {
        bytes[i / per_byte] |= (*v as u8 & ((1 << bits) - 1)) << (bits * (i % per_byte));
    }
    bytes
}
