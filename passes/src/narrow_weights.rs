//! Keeps the constant weights of matrix products in fewer bits, where the caller asks for it.
//!
//! Data and arithmetic stay in f32. A product with few rows, such as a step of a decoder, takes as long as its weights
//! take to arrive, so it gets faster by what they shrink; kernels widen them as they read. The pass writes the weights down
//! as f16 or bf16 behind a Cast, or as codes behind a DequantizeLinear: i8 with a scale per column of the result, or i4
//! with one for each 32 terms of a column, in numbers of f16. Codes are rounded to nearest; the scale of 32 terms is the best of
//! a few, in squares. For each product there is a decision with the error. Weights that others read too, such as those of
//! an embedding, stay as they are for them. Declined are numbers outside of the range of the form.
//!
//! ```ir
//! // before
//! // weights int8
//! graph @g (format 1) {
//!   in %x: f32[2,2]
//!   const %w: f32[2,2] = [0.5, 1.27, 0.25, -0.635]
//!   %y: f32[2,2] = MatMul(%x, %w)
//!   out %y
//! }
//! // after
//! graph @g (format 1) {
//!   in %x: f32[2,2]
//!   const %w.q: i8[2,2] = [127, 127, 64, -64]
//!   const %w.scale: f32[2] = [0.003937008, 0.01]
//!   %w.dq: f32[2,2] = DequantizeLinear(%w.q, %w.scale) {axis=1}
//!   %y: f32[2,2] = MatMul(%x, %w.dq)
//!   out %y
//! }
//! ```

use crate::quantised::onnx;
use crate::quantize::kept_by;
use crate::rewrite::kernel;
use crate::{PassCx, PassError};
use planc_ir::{Graph, NodeId, TensorType, ValueId};
use planc_kir::Kernel;
use planc_tensor::{Bytes, DType, Tensor, bf16, f16};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// How weights are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightForm {
    /// Half precision.
    F16,
    /// bfloat16.
    Bf16,
    /// Bytes with a scale per column.
    Int8,
    /// Four bits with a scale for each 32 terms of a column.
    Int4,
}

impl WeightForm {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            WeightForm::F16 => "f16",
            WeightForm::Bf16 => "bf16",
            WeightForm::Int8 => "int8",
            WeightForm::Int4 => "int4",
        }
    }
}

/// What `narrow-weights` needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NarrowWeights {
    /// How weights are kept.
    pub form: WeightForm,
    /// Patterns of names of nodes or their first results whose weights stay in f32.
    pub keep: Vec<String>,
}

/// Weights that are kept in fewer bits, and what that changes.
#[derive(Clone, Debug, PartialEq)]
pub struct Narrowed {
    /// Their name in f32.
    pub weights: String,
    /// How they are kept.
    pub form: WeightForm,
    /// How many there are.
    pub elements: usize,
    /// Bytes that they take now, scales included.
    pub bytes: usize,
    /// The root of the sum of squares of the differences over that of the weights.
    pub relative_l2: f64,
    /// The largest difference.
    pub max_abs: f64,
}

/// Terms of a column that share a scale in [`WeightForm::Int4`].
const GROUP: usize = 32;

/// Runs the pass.
///
/// # Errors
/// None.
pub(crate) fn run(g: &mut Graph, cx: &mut PassCx<'_>) -> Result<usize, PassError> {
    let Some(options) = cx.options.weights.clone() else { return Ok(0) };
    let mut changes = cx.subgraphs(g, run)?;
    let mut made: BTreeMap<(ValueId, bool), (ValueId, Narrowed)> = BTreeMap::new();
    for id in g.order() {
        let Some((w, transposed)) = weights(g, id) else { continue };
        if let Some(pattern) = kept_by(g, id, &options.keep) {
            cx.decide(g, id, "f32 weights", format!("{pattern:?} says so"));
            continue;
        }
        if let Entry::Vacant(vacant) = made.entry((w, transposed)) {
            match narrow(g, id, w, transposed, options.form) {
                Ok(new) => {
                    cx.narrowed.push(new.1.clone());
                    vacant.insert(new);
                }
                Err(reason) => {
                    cx.decline(g, id, reason);
                    continue;
                }
            }
        }
        let (real, error) = &made[&(w, transposed)];
        let reason = format!("relative error {:.2e}, at most {:.2e}", error.relative_l2, error.max_abs);
        cx.decide(g, id, &format!("{} weights", options.form.name()), reason);
        g.edit_node(id, |e| e.inputs()[1] = Some(*real));
        changes += 1;
    }
    Ok(changes)
}

/// The constant matrix that a node multiplies data with, and whether columns of the result are its rows.
fn weights(g: &Graph, id: NodeId) -> Option<(ValueId, bool)> {
    let n = g.node(id);
    let (Kernel::Gemm(gemm), operands) = kernel(g, id)? else { return None };
    let (x, w) = (n.input(0)?, n.input(1)?);
    let t = g.constant(w)?;
    let f32s = t.dtype() == DType::F32 && g.tensor_type(x)?.dtype == DType::F32;
    let fits = f32s && t.rank() == 2 && !t.is_empty() && operands.starts_with(&[Some(x), Some(w)]);
    (fits && g.constant(x).is_none()).then_some((w, gemm.trans_b))
}

/// A matrix: term `i` of column `j` is element `i * rs + j * cs`.
struct Matrix<'a> {
    w: &'a [f32],
    k: usize,
    n: usize,
    rs: usize,
    cs: usize,
}

/// What rounding costs.
#[derive(Default)]
struct Error {
    squares: f64,
    difference: f64,
    largest: f64,
}

impl Error {
    fn add(&mut self, was: f32, is: f32) {
        let (was, d) = (f64::from(was), f64::from(was) - f64::from(is));
        self.squares += was * was;
        self.difference += d * d;
        self.largest = self.largest.max(d.abs());
    }
}

/// The numbers that stand for the constant `w` in `form`, as a value made next to `near`.
fn narrow(
    g: &mut Graph,
    near: NodeId,
    w: ValueId,
    transposed: bool,
    form: WeightForm,
) -> Result<(ValueId, Narrowed), &'static str> {
    let t = g.constant(w).cloned().ok_or("the weights are not constant")?;
    let elements = t.view().to_vec::<f32>().ok_or("the weights are not f32")?;
    let &[rows, columns] = t.shape() else { return Err("the weights are no matrix") };
    let largest = match form {
        WeightForm::F16 => f16::MAX.to_f32(),
        WeightForm::Int4 => 7.0 * f16::MAX.to_f32(),
        WeightForm::Bf16 => bf16::MAX.to_f32(),
        WeightForm::Int8 => f32::MAX,
    };
    // Not so for NaN either.
    if !elements.iter().all(|v| v.abs() <= largest) {
        return Err("a weight is outside of the range of the form");
    }
    let m = match transposed {
        false => Matrix { w: &elements, k: rows, n: columns, rs: columns, cs: 1 },
        true => Matrix { w: &elements, k: columns, n: rows, rs: 1, cs: columns },
    };
    let (name, shape) = (g.value(w).name.to_string(), t.shape().to_vec());
    let (codes, scales, error) = match form {
        WeightForm::F16 | WeightForm::Bf16 => halves(&m, form),
        WeightForm::Int8 => bytes(&m),
        WeightForm::Int4 => nibbles(&m),
    };
    let too_large = |_| "the weights are too large";
    let dtype = [DType::F16, DType::BF16, DType::I8, DType::I4][form as usize];
    let codes = Tensor::from_bytes(dtype, shape.as_slice(), Bytes::new(codes)).map_err(too_large)?;
    let mut bytes = codes.byte_len();
    let ty = TensorType::fixed(DType::F32, &shape);
    let codes = g.add_const(&format!("{name}.{}", if scales.is_some() { "q" } else { dtype.name() }), codes);
    let real = match scales {
        None => {
            let b = onnx(g, near, "Cast").inputs([codes]).attr("to", i64::from(DType::F32.onnx()));
            g.add_op(b, &format!("{name}.f32"), ty)
        }
        Some(scales) => {
            bytes += if form == WeightForm::Int4 { 2 } else { 4 } * scales.len();
            // Of the two axes, the columns lie along one and the terms along the other.
            let (column, term) = if transposed { (0, 1) } else { (1, 0) };
            let groups = m.k.div_ceil(GROUP);
            let (scale_shape, axis, block) = match form {
                WeightForm::Int4 if transposed => (vec![m.n, groups], term, GROUP),
                WeightForm::Int4 => (vec![groups, m.n], term, GROUP),
                _ => (vec![m.n], column, 0),
            };
            let scales = Tensor::new(scale_shape, scales).map_err(too_large)?;
            let scales = g.add_const(&format!("{name}.scale"), scales);
            let b = onnx(g, near, "DequantizeLinear").inputs([codes, scales]).attr("axis", axis as i64);
            let b = if block > 0 { b.attr("block_size", block as i64) } else { b };
            g.add_op(b, &format!("{name}.dq"), ty)
        }
    };
    let relative_l2 = if error.squares > 0.0 { (error.difference / error.squares).sqrt() } else { 0.0 };
    let narrowed =
        Narrowed { weights: name, form, elements: elements.len(), bytes, relative_l2, max_abs: error.largest };
    Ok((real, narrowed))
}

/// Bytes in the order of the elements, scales if there are any, and the error.
type Codes = (Vec<u8>, Option<Vec<f32>>, Error);

/// Numbers rounded to 16 bits.
fn halves(m: &Matrix<'_>, form: WeightForm) -> Codes {
    let mut error = Error::default();
    let mut out = Vec::with_capacity(2 * m.w.len());
    for v in m.w {
        let (bits, is) = match form {
            WeightForm::F16 => (f16::from_f32(*v).to_bits(), f16::from_f32(*v).to_f32()),
            _ => (bf16::from_f32(*v).to_bits(), bf16::from_f32(*v).to_f32()),
        };
        error.add(*v, is);
        out.extend(bits.to_le_bytes());
    }
    (out, None, error)
}

/// Codes from -127 to 127, with the scale that makes the largest number of a column the largest code.
fn bytes(m: &Matrix<'_>) -> Codes {
    let column = |at: usize| at / m.cs % m.n;
    let mut scales = vec![0f32; m.n];
    m.w.iter().enumerate().for_each(|(at, v)| scales[column(at)] = scales[column(at)].max(v.abs()));
    for scale in &mut scales {
        *scale /= 127.0;
        if !scale.is_normal() {
            *scale = 1.0;
        }
    }
    let mut error = Error::default();
    let code = |(at, v): (usize, &f32)| {
        let scale = scales[column(at)];
        let code = (f64::from(*v) / f64::from(scale)).round_ties_even().clamp(-127.0, 127.0);
        error.add(*v, code as f32 * scale);
        code as i8 as u8
    };
    let codes = m.w.iter().enumerate().map(code).collect();
    (codes, Some(scales), error)
}

/// Codes from -8 to 7, and scales that f16 holds, term groups in the place of terms.
fn nibbles(m: &Matrix<'_>) -> Codes {
    let groups = m.k.div_ceil(GROUP);
    // Scales lie as the codes do, with groups in the place of terms.
    let (grs, gcs) = if m.cs == 1 { (m.n, 1) } else { (1, groups) };
    let (mut codes, mut scales) = (vec![0u8; m.w.len().div_ceil(2)], vec![0f32; groups * m.n]);
    let mut error = Error::default();
    for group in 0..groups {
        let first = group * GROUP;
        let len = GROUP.min(m.k - first);
        for j in 0..m.n {
            let at = |i: usize| (first + i) * m.rs + j * m.cs;
            let mut terms = [0f32; GROUP];
            terms.iter_mut().take(len).enumerate().for_each(|(i, t)| *t = m.w[at(i)]);
            let (scale, chosen) = best(&terms);
            scales[group * grs + j * gcs] = scale;
            for (i, code) in chosen.iter().enumerate().take(len) {
                error.add(terms[i], f32::from(*code) * scale);
                codes[at(i) / 2] |= (*code as u8 & 15) << (at(i) % 2 * 4);
            }
        }
    }
    (codes, Some(scales), error)
}

/// A scale that f16 holds and codes of 32 numbers. The number furthest from 0 gets the code 7 or -8, or one that is cut off
/// a little; each such choice of codes gets the scale that fits it best, by least squares, and the best one is taken.
fn best(terms: &[f32; GROUP]) -> (f32, [i8; GROUP]) {
    let furthest = terms.iter().copied().fold(0f32, |m, v| if v.abs() > m.abs() { v } else { m });
    let mut found = (f32::INFINITY, 0.0, [0i8; GROUP]);
    for divisor in [7.0, -8.0, -8.5, -9.0, -9.5] {
        let scale = f16::from_f32(furthest / divisor).to_f32();
        if scale == 0.0 {
            continue;
        }
        let (mut codes, mut dot, mut norm) = ([0i8; GROUP], 0f32, 0f32);
        for (code, v) in codes.iter_mut().zip(terms) {
            let c = (v / scale).round_ties_even().clamp(-8.0, 7.0);
            *code = c as i8;
            dot += c * v;
            norm += c * c;
        }
        let scale = f16::from_f32(dot / norm).to_f32();
        let squares = codes.iter().zip(terms).map(|(c, v)| (v - f32::from(*c) * scale).powi(2)).sum::<f32>();
        if squares < found.0 {
            found = (squares, scale, codes);
        }
    }
    (found.1, found.2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_of_four_bits_are_no_worse_than_the_plain_one() {
        let mut state = 7u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        for case in 0..200 {
            let mut terms = [0f32; GROUP];
            terms.iter_mut().for_each(|t| *t = next() * 0.03);
            // Few numbers, one far from the others, none at all.
            match case % 4 {
                1 => terms[5..].fill(0.0),
                2 => terms[7] = 1.5,
                3 => terms.fill(0.0),
                _ => {}
            }
            let (scale, codes) = best(&terms);
            assert_eq!(f16::from_f32(scale).to_f32(), scale);
            assert!(codes.iter().all(|c| (-8..=7).contains(c)));
            let error = |scale: f32, codes: &[i8; GROUP]| -> f32 {
                terms.iter().zip(codes).map(|(v, c)| (v - f32::from(*c) * scale).powi(2)).sum()
            };
            let plain = f16::from_f32(terms.iter().fold(0f32, |m, v| m.max(v.abs())) / 7.0).to_f32();
            let rounded =
                terms.map(|v| if plain > 0.0 { (v / plain).round_ties_even().clamp(-8.0, 7.0) as i8 } else { 0 });
            // The scale that fits best is rounded.
            assert!(error(scale, &codes) <= error(plain, &rounded) * 1.01, "{terms:?}");
        }
    }
}
