//! com.microsoft.GatherBlockQuantized: rows of a table of small integers as real numbers. Scales and zero points hold for
//! blocks along one axis; an index that is out of range gives zeros.

use crate::floats::{narrow, widen};
use crate::{AttrDef, EvalCx, InferCx, OpDef, OpError, Param, TypeSet, normal_axis, operand};
use planc_tensor::{DType, Dim, Tensor, View};

/// The row of GatherBlockQuantized.
pub const OP: OpDef = OpDef {
    name: "GatherBlockQuantized",
    domain: "com.microsoft",
    types: &[
        ("T1", TypeSet::of(&[DType::I4, DType::U4, DType::U8])),
        ("T2", TypeSet::of(&[DType::F32, DType::F16, DType::BF16])),
        ("Tind", TypeSet::INDEX),
    ],
    inputs: &[
        Param::req("data", "T1"),
        Param::req("indices", "Tind"),
        Param::req("scales", "T2"),
        Param::opt("zero_points", "T1"),
    ],
    outputs: &[Param::req("output", "T2")],
    attrs: &[
        AttrDef::int("bits", 4),
        AttrDef::int("block_size", 128),
        AttrDef::int("gather_axis", 0),
        AttrDef::int("quantize_axis", 1),
    ],
    infer,
    eval: Some(eval),
    ..OpDef::NEW
};

/// Bits of an element: bytes may hold several, along the last axis.
fn bits(dtype: DType, attribute: i64) -> Result<usize, OpError> {
    match (dtype, attribute) {
        (DType::U8, 2 | 4 | 8) => Ok(attribute as usize),
        (DType::U8, other) => Err(OpError::attribute(format!("bits is {other}, not 2, 4 or 8"))),
        _ => Ok(4),
    }
}

fn infer(cx: &mut InferCx<'_>) -> Result<(), OpError> {
    let (data, dtype) = (cx.tensor(0)?, cx.dtype(2)?);
    let per_byte = if data.dtype == DType::U8 { 8 / bits(data.dtype, cx.int("bits"))? } else { 1 };
    let shape = match (&data.shape, cx.shape(1)?) {
        (Some(data), Some(indices)) => {
            let (gather, _) = (cx.axis("gather_axis", data.len())?, cx.axis("quantize_axis", data.len())?);
            let mut data = data.clone();
            if let Some(last) = data.last_mut() {
                *last = last.clone() * Dim::from(per_byte);
            }
            Some([&data[..gather], indices, &data[gather + 1..]].concat())
        }
        _ => None,
    };
    cx.set_shape(0, dtype, shape);
    Ok(())
}

fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>]) -> Result<Vec<Tensor>, OpError> {
    let (data, indices, scales) = (operand(inputs, 0)?, operand(inputs, 1)?, operand(inputs, 2)?);
    let zeros = inputs.get(3).copied().flatten();
    let codes = Codes::new(data, cx.int("bits"))?;
    let (gather, axis) = (normal_axis(cx.int("gather_axis"), data.rank())?, cx.int("quantize_axis"));
    let axis = normal_axis(axis, data.rank())?;
    let block = usize::try_from(cx.int("block_size")).ok().filter(|b| *b > 0);
    let block = block.ok_or_else(|| OpError::attribute("block_size is not positive"))?;
    let mut blocks = codes.shape.clone();
    blocks[axis] = blocks[axis].div_ceil(block);
    if scales.shape() != blocks {
        return Err(OpError::shape(format!("scales of {:?}, not {blocks:?}", scales.shape())));
    }
    let points = zeros.map(|z| Codes::new(z, cx.int("bits"))).transpose()?;
    // Packed zero points fill whole bytes, so a row may have more of them than there are blocks.
    let fits = |p: &Codes<'_>| {
        let (last, rest) = (p.shape.last(), blocks.len().saturating_sub(1));
        p.shape[..rest] == blocks[..rest] && last.is_some_and(|l| *l >= blocks[rest] && *l < blocks[rest] + 8 / p.bits)
    };
    if points.as_ref().is_some_and(|p| !fits(p)) {
        return Err(OpError::shape("the zero points do not fit the scales"));
    }
    let scales = widen(scales)?;
    let middle = if data.dtype() == DType::U8 { 1i64 << (codes.bits - 1) } else { 0 };
    let number = |at: &[usize]| {
        let mut place = at.to_vec();
        place[axis] /= block;
        let zero = points.as_ref().map_or(middle, |p| p.at(&place));
        (codes.at(at) - zero) as f64 * scales[offset(&blocks, &place)]
    };
    let shape = [&codes.shape[..gather], indices.shape(), &codes.shape[gather + 1..]].concat();
    let total = cx.reserve(DType::F64, &shape)?;
    let wanted = indices.to_i64().ok_or_else(|| OpError::type_("the indices are not integers"))?;
    let extent = codes.shape[gather] as i64;
    let inner: usize = codes.shape[gather + 1..].iter().product();
    let mut out = Vec::with_capacity(total);
    let mut at = vec![0; data.rank()];
    for outer in 0..codes.shape[..gather].iter().product::<usize>() {
        position(&codes.shape[..gather], outer, &mut at[..gather]);
        for index in &wanted {
            let row = usize::try_from(if *index < 0 { index + extent } else { *index }).ok();
            let Some(row) = row.filter(|r| (*r as i64) < extent) else {
                out.resize(out.len() + inner, 0.0);
                continue;
            };
            at[gather] = row;
            for i in 0..inner {
                position(&codes.shape[gather + 1..], i, &mut at[gather + 1..]);
                out.push(number(&at));
            }
        }
    }
    Ok(vec![narrow(cx.output_dtype(0)?, &shape, out)?])
}

/// The row-major offset of a position.
fn offset(shape: &[usize], at: &[usize]) -> usize {
    shape.iter().zip(at).fold(0, |sum, (extent, i)| sum * extent + i)
}

/// The position of a row-major offset.
fn position(shape: &[usize], mut offset: usize, at: &mut [usize]) {
    for (extent, i) in shape.iter().zip(at).rev() {
        *i = offset % extent;
        offset /= extent;
    }
}

/// Packed integers of 2, 4 or 8 bits, low bits first.
struct Codes<'v> {
    /// Extents in integers.
    shape: Vec<usize>,
    bits: usize,
    signed: bool,
    bytes: &'v [u8],
}

impl<'v> Codes<'v> {
    fn new(x: View<'v>, attribute: i64) -> Result<Codes<'v>, OpError> {
        let bits = bits(x.dtype(), attribute)?;
        let mut shape = x.shape().to_vec();
        if let (DType::U8, Some(last)) = (x.dtype(), shape.last_mut()) {
            *last *= 8 / bits;
        }
        Ok(Codes { shape, bits, signed: x.dtype() == DType::I4, bytes: x.bytes() })
    }

    fn at(&self, at: &[usize]) -> i64 {
        let bit = offset(&self.shape, at) * self.bits;
        let code = i64::from(self.bytes[bit / 8]) >> (bit % 8) & ((1 << self.bits) - 1);
        if self.signed && code > 7 { code - 16 } else { code }
    }
}
