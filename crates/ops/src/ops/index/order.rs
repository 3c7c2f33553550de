//! The order of elements, for sorting: numbers by value with NaN after all others, complex ones by their real and then by
//! their imaginary part, strings by code point.

use crate::OpError;
use crate::elementwise::elements;
use planc_tensor::{Complex, DType, View};
use std::cmp::Ordering;

/// The elements of a tensor in a form that compares.
pub(super) enum Keys<'a> {
    /// Floats.
    Float(Vec<f64>),
    /// Complex numbers.
    Complex(Vec<Complex<f64>>),
    /// Integers and bool.
    Int(Vec<i128>),
    /// Strings.
    Text(&'a [String]),
}

impl<'a> Keys<'a> {
    /// The elements of `v`.
    pub(super) fn of(v: View<'a>) -> Result<Keys<'a>, OpError> {
        Ok(match v.dtype() {
            t if t.is_float() => Keys::Float(crate::floats::widen(v)?),
            DType::C64 | DType::C128 => Keys::Complex(crate::floats::complex(v).unwrap_or_default()),
            DType::String => Keys::Text(v.as_strings()),
            DType::U64 => Keys::Int(elements::<u64>(v)?.iter().map(|x| i128::from(*x)).collect()),
            _ => Keys::Int(crate::indexing::integers(v)?.into_iter().map(i128::from).collect()),
        })
    }

    /// How element `i` compares to element `j`.
    pub(super) fn compare(&self, i: usize, j: usize) -> Ordering {
        match self {
            Keys::Float(v) => order(v[i], v[j]),
            Keys::Complex(v) => order(v[i].re, v[j].re).then(order(v[i].im, v[j].im)),
            Keys::Int(v) => v[i].cmp(&v[j]),
            Keys::Text(v) => v[i].cmp(&v[j]),
        }
    }

    /// Whether element `i` is neither zero nor empty.
    pub(super) fn is_set(&self, i: usize) -> bool {
        match self {
            Keys::Float(v) => v[i] != 0.0,
            Keys::Complex(v) => v[i] != Complex::default(),
            Keys::Int(v) => v[i] != 0,
            Keys::Text(v) => !v[i].is_empty(),
        }
    }

    /// Whether element `i` is NaN, which equals nothing.
    pub(super) fn is_nan(&self, i: usize) -> bool {
        match self {
            Keys::Float(v) => v[i].is_nan(),
            Keys::Complex(v) => v[i].is_nan(),
            Keys::Int(_) | Keys::Text(_) => false,
        }
    }
}

/// NaN comes last.
fn order(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}
