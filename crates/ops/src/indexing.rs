//! Moving elements of any type: what copies, gathers and scatters share.
//!
//! [`Cells`] are a tensor's elements as units that can be moved: whole bytes (sub-byte elements are unpacked) or
//! strings. [`Filler`] collects such units into a new tensor. No arithmetic here.

use crate::cx::EvalCx;
use crate::error::OpError;
use planc_tensor::{AlignedBuf, Bytes, DType, Tensor, View, contiguous_strides, element_count};
use std::borrow::Cow;

/// The elements of a tensor as movable units.
pub enum Cells<'a> {
    /// Units of `width` bytes.
    Bytes {
        /// Bytes of a unit.
        width: usize,
        /// The units, one after the other.
        data: Cow<'a, [u8]>,
    },
    /// Strings.
    Strings(&'a [String]),
}

impl<'a> Cells<'a> {
    /// The elements of `v`.
    pub fn of(v: View<'a>) -> Cells<'a> {
        let bits = v.dtype().bits();
        match bits {
            0 => Cells::Strings(v.as_strings()),
            1..8 => {
                let per = 8 / bits;
                let unit = |i: usize| (v.bytes()[i / per] >> (bits * (i % per))) & ((1 << bits) - 1);
                Cells::Bytes { width: 1, data: (0..v.len()).map(unit).collect() }
            }
            _ => Cells::Bytes { width: bits / 8, data: v.bytes().into() },
        }
    }
}

/// A tensor being written, in order or anywhere.
pub struct Filler {
    dtype: DType,
    shape: Vec<usize>,
    units: AlignedBuf,
    strings: Vec<String>,
    at: usize,
}

impl Filler {
    /// A tensor of `shape`, all bits zero, to be filled.
    ///
    /// # Errors
    /// When it is beyond the context's limit.
    pub fn new(cx: &EvalCx<'_>, dtype: DType, shape: Vec<usize>) -> Result<Filler, OpError> {
        let count = cx.reserve(dtype, &shape)?;
        let width = dtype.bits().div_ceil(8);
        let bytes = count.checked_mul(width).ok_or_else(|| OpError::limit("a result is too large"))?;
        let strings = if width == 0 { vec![String::new(); count] } else { vec![] };
        Ok(Filler { dtype, shape, units: AlignedBuf::zeroed(bytes), strings, at: 0 })
    }

    /// A copy of `v` to be changed.
    ///
    /// # Errors
    /// As [`Filler::new`].
    pub fn copy_of(cx: &EvalCx<'_>, v: View<'_>) -> Result<Filler, OpError> {
        let mut f = Filler::new(cx, v.dtype(), v.shape().to_vec())?;
        f.push_run(&Cells::of(v), 0, v.len());
        Ok(f)
    }

    /// Writes unit `from` of `cells` at position `to`.
    pub fn set(&mut self, to: usize, cells: &Cells<'_>, from: usize) {
        self.copy(to, cells, from, 1);
    }

    /// Appends `count` units of `cells` from `from` on.
    pub fn push_run(&mut self, cells: &Cells<'_>, from: usize, count: usize) {
        self.copy(self.at, cells, from, count);
        self.at += count;
    }

    /// Writes `count` units of `cells` from `from` on at position `to`.
    pub fn copy(&mut self, to: usize, cells: &Cells<'_>, from: usize, count: usize) {
        match cells {
            Cells::Bytes { width: w, data } => {
                self.units.as_mut_slice()[to * w..(to + count) * w]
                    .copy_from_slice(&data[from * w..(from + count) * w]);
            }
            Cells::Strings(s) => self.strings[to..to + count].clone_from_slice(&s[from..from + count]),
        }
    }

    /// Leaves `count` units as they are.
    pub fn skip(&mut self, count: usize) {
        self.at += count;
    }

    /// The tensor.
    ///
    /// # Errors
    /// None that a caller can cause.
    pub fn finish(self) -> Result<Tensor, OpError> {
        let bits = self.dtype.bits();
        match bits {
            0 => Ok(Tensor::from_strings(self.shape, self.strings)?),
            1..8 => {
                let per = 8 / bits;
                let join = |b: &[u8]| b.iter().enumerate().fold(0, |v, (i, u)| v | u << (bits * i));
                let packed: Vec<u8> = self.units.as_ref().chunks(per).map(join).collect();
                Ok(Tensor::from_bytes(self.dtype, self.shape, Bytes::new(packed))?)
            }
            _ => Ok(Tensor::from_bytes(self.dtype, self.shape, Bytes::new(self.units))?),
        }
    }
}

/// The place of an element that is not in the source.
pub const OUTSIDE: usize = usize::MAX;

/// A tensor of `shape` whose element at index i is the element of `x` at offset `sum(source(axis, i[axis]))`, or `fill`
/// (zero without one) where one of them is [`OUTSIDE`].
///
/// # Errors
/// When it is beyond the limit, or an offset is beyond `x`.
pub fn by_axis(
    cx: &EvalCx<'_>,
    x: View<'_>,
    shape: Vec<usize>,
    fill: Option<View<'_>>,
    source: impl Fn(usize, usize) -> usize,
) -> Result<Tensor, OpError> {
    let mut out = Filler::new(cx, x.dtype(), shape.clone())?;
    if shape.contains(&0) {
        return out.finish();
    }
    let tables: Vec<Vec<usize>> =
        shape.iter().enumerate().map(|(a, n)| (0..*n).map(|i| source(a, i)).collect()).collect();
    let reach = tables
        .iter()
        .try_fold(0usize, |sum, t| sum.checked_add(t.iter().copied().filter(|o| *o != OUTSIDE).max().unwrap_or(0)));
    let all_outside = tables.iter().any(|t| t.iter().all(|o| *o == OUTSIDE));
    if !all_outside && reach.is_none_or(|r| r >= x.len()) {
        return Err(OpError::value("an index is out of range"));
    }
    let fill = fill.map(Cells::of);
    copy_axis(&mut out, &Cells::of(x), fill.as_ref(), &tables, 0);
    out.finish()
}

fn copy_axis(out: &mut Filler, x: &Cells<'_>, fill: Option<&Cells<'_>>, tables: &[Vec<usize>], base: usize) {
    let add = |o: usize| if base == OUTSIDE || o == OUTSIDE { OUTSIDE } else { base + o };
    match tables {
        [] => put(out, x, fill, base, 1),
        [last] => {
            let mut i = 0;
            while i < last.len() {
                let first = add(last[i]);
                let mut n = 1;
                while i + n < last.len() && first != OUTSIDE && add(last[i + n]) == first.wrapping_add(n) {
                    n += 1;
                }
                put(out, x, fill, first, n);
                i += n;
            }
        }
        [table, rest @ ..] => table.iter().for_each(|o| copy_axis(out, x, fill, rest, add(*o))),
    }
}

fn put(out: &mut Filler, x: &Cells<'_>, fill: Option<&Cells<'_>>, from: usize, count: usize) {
    match fill {
        _ if from != OUTSIDE => out.push_run(x, from, count),
        Some(fill) => (0..count).for_each(|_| out.push_run(fill, 0, 1)),
        None => out.skip(count),
    }
}

/// The elements of an integer operand.
///
/// # Errors
/// When it is not of integers.
pub fn integers(v: View<'_>) -> Result<Vec<i64>, OpError> {
    v.to_i64().ok_or_else(|| OpError::type_(format!("does not take {}", v.dtype())))
}

/// Index `i` of an axis of `extent`, counted from the front.
///
/// # Errors
/// When it is out of range.
pub fn index(i: i64, extent: usize) -> Result<usize, OpError> {
    let n = i64::try_from(extent).unwrap_or(i64::MAX);
    if i < -n || i >= n {
        return Err(OpError::value(format!("index {i} is out of range for extent {extent}")));
    }
    Ok(if i < 0 { i + n } else { i } as usize)
}

/// The extent of `axis` between the products of those before and after it: `(outer, extent, inner)`. Both products are
/// 0 where the tensor is empty, so that loops over them end at once.
///
/// # Errors
/// When the counts overflow.
pub fn around(shape: &[usize], axis: usize) -> Result<(usize, usize, usize), OpError> {
    if shape.contains(&0) {
        return Ok((0, shape[axis], 0));
    }
    let count = |s: &[usize]| element_count(s).ok_or_else(|| OpError::limit("too many elements"));
    Ok((count(&shape[..axis])?, shape[axis], count(&shape[axis + 1..])?))
}

/// Row-major strides, for callers of [`by_axis`].
pub fn strides(shape: &[usize]) -> Vec<usize> {
    contiguous_strides(shape)
}
