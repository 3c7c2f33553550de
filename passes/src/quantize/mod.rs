//! Rounds data and weights of convolutions and matrix products to 8 bits, where a calibration is given.
//!
//! Data becomes u8 with one scale and zero point per value, from the range that a calibration saw; constant weights
//! become i8 with a scale per channel of the result, and a bias i32 in units of the sums. The pass writes this down as
//! QuantizeLinear and DequantizeLinear around each layer, as other tools do, and leaves it to `fold-quantization` to
//! compute on the codes. What only moves data shares its scale, so that codes can be moved instead; a sum of two layers
//! takes one of them in codes. All readers of a rounded value read it rounded but layers that are kept in f32. For each
//! layer there is a decision; kept are layers that the caller names, whose input was not calibrated, whose weights are
//! not constant, or that no kernel over integers computes.
//!
//! ```ir
//! // before
//! // range x -2 2
//! graph @g (format 1) {
//!   in %x: f32[2,2]
//!   const %w: f32[2,2] = [0.5, 1.27, 0.25, -0.635]
//!   %y: f32[2,2] = MatMul(%x, %w)
//!   out %y
//! }
//! // after
//! graph @g (format 1) {
//!   in %x: f32[2,2]
//!   const %x.scale: f32[] = 0.015686275
//!   const %x.zero: u8[] = 127
//!   const %w.q: i8[2,2] = [127, 127, 64, -64]
//!   const %w.scale: f32[2] = [0.003937008, 0.01]
//!   %x.q: u8[2,2] = QuantizeLinear(%x, %x.scale, %x.zero)
//!   %x.dq: f32[2,2] = DequantizeLinear(%x.q, %x.scale, %x.zero)
//!   %w.dq: f32[2,2] = DequantizeLinear(%w.q, %w.scale) {axis=1}
//!   %y: f32[2,2] = MatMul(%x.dq, %w.dq)
//!   out %y
//! }
//! ```

mod choose;

use crate::manager::QuantisedValue;
use crate::quantised::{Params, convert, onnx, operands};
use crate::rewrite::{floats, kernel};
use crate::{PassCx, PassError};
use choose::{Layer, Wanted, layer, wanted};
use planc_ir::{Graph, NodeId, TensorType, Use, ValueId};
use planc_kir::Kernel;
use planc_tensor::{DType, Layout, Tensor};
use std::collections::{BTreeMap, BTreeSet};

/// What `quantize` needs to know.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Quantise {
    /// The least and greatest number that a value takes, by name.
    pub ranges: BTreeMap<String, (f32, f32)>,
    /// Patterns (`*` any text, `?` any character) of names of nodes or their first results that stay in f32.
    pub keep: Vec<String>,
}

/// The values of a graph, as it is before `quantize`, whose ranges it asks for.
pub fn observed(g: &Graph) -> Vec<ValueId> {
    let layers: Vec<Layer> = g.order().into_iter().filter_map(|id| layer(g, id)?.ok()).collect();
    wanted(g, &layers, &|_| true).values
}

/// Runs the pass. Bodies of control flow stay as they are: calibration does not see into them.
///
/// # Errors
/// None.
pub(crate) fn run(g: &mut Graph, cx: &mut PassCx<'_>) -> Result<usize, PassError> {
    let Some(options) = cx.options.quantise.clone() else { return Ok(0) };
    let (mut layers, mut kept) = (vec![], BTreeMap::new());
    for id in g.order() {
        match layer(g, id) {
            Some(Ok(l)) => match kept_by(g, id, &options.keep) {
                Some(pattern) => {
                    kept.insert(id, format!("{pattern:?} says so"));
                }
                None => layers.push(l),
            },
            Some(Err(reason)) => {
                kept.insert(id, reason.to_string());
            }
            None => {}
        }
    }
    let in_codes = |id: NodeId| crosses(g, id, cx);
    let wanted = wanted(g, &layers, &in_codes);
    let params = shared(g, &wanted, &options.ranges);
    layers.retain(|l| {
        let calibrated = params.contains_key(&l.x);
        if !calibrated {
            kept.insert(l.id, format!("there is no calibration data for {}", g.value(l.x).name));
        }
        calibrated
    });
    let rounded: BTreeMap<NodeId, &Layer> = layers.iter().map(|l| (l.id, l)).collect();
    for id in g.order() {
        if let Some(l) = rounded.get(&id) {
            let Params { scale, zero, .. } = params[&l.x];
            let reason = format!("u8 data of scale {scale} and zero point {zero}, i8 weights per channel");
            cx.decide(g, id, "8 bits", reason);
        } else if let Some(reason) = kept.get(&id) {
            cx.decide(g, id, "f32", reason.clone());
        }
    }
    let mut changes = 0;
    for v in &wanted.values {
        changes += params.get(v).map_or(0, |p| usize::from(round(g, *v, *p, &kept, cx)));
    }
    for l in &layers {
        weights(g, l, params[&l.x]);
        changes += 1;
    }
    Ok(changes)
}

/// The pattern that keeps a node as it is.
pub(crate) fn kept_by<'k>(g: &Graph, id: NodeId, keep: &'k [String]) -> Option<&'k str> {
    let n = g.node(id);
    let result = n.output(0).map(|v| g.value(v).name.clone());
    let names = [Some(n.origin.node.clone()), result];
    keep.iter().find(|p| names.iter().flatten().any(|n| matches_glob(p, n))).map(String::as_str)
}

/// Whether `text` is as a pattern says.
fn matches_glob(pattern: &str, text: &str) -> bool {
    let (p, t): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut i, mut j, mut star) = (0, 0, None);
    while j < t.len() {
        if i < p.len() && p[i] == '*' {
            star = Some((i, j));
            i += 1;
        } else if i < p.len() && (p[i] == '?' || p[i] == t[j]) {
            (i, j) = (i + 1, j + 1);
        } else if let Some((at, from)) = star {
            // The last star takes one more.
            star = Some((at, from + 1));
            (i, j) = (at + 1, from + 1);
        } else {
            return false;
        }
    }
    p[i..].iter().all(|c| *c == '*')
}

/// Whether the backend moves codes where the node moves numbers.
fn crosses(g: &Graph, id: NodeId, cx: &PassCx<'_>) -> bool {
    let Some((k, operands)) = kernel(g, id) else { return false };
    let u8s = Some((DType::U8, Layout::RowMajor));
    let form = |v: &Option<ValueId>| {
        let t = g.tensor_type((*v)?)?;
        if t.dtype == DType::F32 { u8s } else { Some((t.dtype, t.layout)) }
    };
    let forms: Vec<_> = operands.iter().map(form).collect();
    k == Kernel::Reshape || (cx.options.supports)(&k, None, &forms, &[u8s])
}

/// Of two ranges that meet in one value, the wider is at most so much wider.
const ALIKE: f32 = 4.0;

/// Scale and zero point of each wanted value that was calibrated; values that are moved share those of what they become.
fn shared(g: &Graph, wanted: &Wanted, ranges: &BTreeMap<String, (f32, f32)>) -> BTreeMap<ValueId, Params> {
    let range = |v: ValueId| ranges.get(&*g.value(v).name).copied().filter(|(a, b)| a.is_finite() && b.is_finite());
    let mut group: BTreeMap<ValueId, ValueId> = wanted.values.iter().map(|v| (*v, *v)).collect();
    let mut spans: BTreeMap<ValueId, (f32, f32)> = BTreeMap::new();
    for v in &wanted.values {
        if let Some((low, high)) = range(*v) {
            spans.insert(*v, (low.min(0.0), high.max(0.0)));
        }
    }
    let root = |group: &BTreeMap<ValueId, ValueId>, mut v: ValueId| {
        while group[&v] != v {
            v = group[&v];
        }
        v
    };
    for (from, to, beside) in &wanted.joins {
        let (a, b) = (root(&group, *from), root(&group, *to));
        let (Some(x), Some(y)) = (spans.get(&a).copied(), spans.get(&b).copied()) else { continue };
        let (wide, narrow) = ((x.1 - x.0).max(y.1 - y.0), (x.1 - x.0).min(y.1 - y.0));
        if a == b || *beside && wide > ALIKE * narrow {
            continue;
        }
        spans.insert(b, (x.0.min(y.0), x.1.max(y.1)));
        group.insert(a, b);
    }
    let of = |v: &ValueId| Some((*v, unsigned(*spans.get(&root(&group, *v))?)));
    wanted.values.iter().filter_map(of).collect()
}

/// u8 codes for a range that contains 0, so that 0 has one.
fn unsigned((low, high): (f32, f32)) -> Params {
    let scale = (high - low) / 255.0;
    let scale = if scale.is_normal() { scale } else { 1.0 / 255.0 };
    let zero = (-low / scale).round_ties_even().clamp(0.0, 255.0) as i64;
    Params { scale, zero, dtype: DType::U8 }
}

/// Makes the readers of `v` read it rounded, but for layers that are kept; whether there are any.
fn round(g: &mut Graph, v: ValueId, p: Params, kept: &BTreeMap<NodeId, String>, cx: &mut PassCx<'_>) -> bool {
    let node = |u: &Use| if let Use::Node(n) = u { Some(*n) } else { None };
    let reads = |n: &NodeId| !kept.contains_key(n) && g.node(*n).subgraphs.is_empty();
    let readers: BTreeSet<NodeId> = g.uses(v).iter().filter_map(node).filter(reads).collect();
    let Some(first) = readers.first().copied() else { return false };
    let name = g.value(v).name.to_string();
    let place = g.producer(v).map_or(first, |(id, _)| id);
    let (q, dq) = (onnx(g, place, "QuantizeLinear"), onnx(g, place, "DequantizeLinear"));
    let with = operands(g, &name, p);
    let codes = convert(g, q, v, with, &format!("{name}.q"), p.dtype);
    let numbers = convert(g, dq, codes, with, &format!("{name}.dq"), DType::F32);
    for n in readers {
        g.edit_node(n, |e| e.inputs().iter_mut().flatten().filter(|i| **i == v).for_each(|i| *i = numbers));
    }
    let codes = g.value(codes).name.to_string();
    cx.quantised.push(QuantisedValue { value: name, codes, scale: p.scale, zero: p.zero });
    true
}

/// Codes of weights go this far either way.
const WEIGHT_CODES: f64 = 127.0;
/// Codes of a bias go this far: in f32 the sums are not exact beyond.
const BIAS_CODES: f64 = (1 << 24) as f64;

/// Rounds the weights of a layer, and its bias where that is constant and one per channel.
fn weights(g: &mut Graph, l: &Layer, data: Params) {
    let Some(t) = g.constant(l.w).cloned() else { return };
    let Some(numbers) = floats(&t) else { return };
    let channels = t.shape()[l.axis];
    let inner: usize = t.shape()[l.axis + 1..].iter().product::<usize>().max(1);
    let channel = |i: usize| i / inner % channels;
    let n = g.node(l.id);
    let alpha = n.attrs.float("alpha").unwrap_or(1.0);
    let plain = n.attrs.float("beta").unwrap_or(1.0) == 1.0;
    let flat = |b: &&Tensor| b.len() == channels && b.shape().last() == Some(&channels) && plain;
    let bias = n.input(2).and_then(|b| Some((b, floats(g.constant(b).filter(flat)?)?)));
    let mut widest = vec![0f64; channels];
    numbers.iter().enumerate().for_each(|(i, v)| widest[channel(i)] = widest[channel(i)].max(v.abs()));
    let scales: Vec<f32> = (0..channels)
        .map(|c| {
            // A bias far beyond what the weights give needs no finer steps than its own precision.
            let unit = f64::from(data.scale) * f64::from(alpha).abs() * BIAS_CODES;
            let floor = bias.as_ref().map_or(0.0, |(_, b)| b[c].abs() / unit);
            let scale = (widest[c] / WEIGHT_CODES).max(floor) as f32;
            if scale.is_normal() { scale } else { 1.0 }
        })
        .collect();
    let code = |(i, v): (usize, &f64)| (v / f64::from(scales[channel(i)])).round_ties_even().clamp(-127.0, 127.0) as i8;
    let codes = numbers.iter().enumerate().map(code).collect();
    let Ok(codes) = Tensor::new(t.shape(), codes) else { return };
    let real = constant(g, l, l.w, codes, (scales.clone(), l.axis));
    g.edit_node(l.id, |e| e.inputs()[1] = Some(real));
    let Some((b, numbers)) = bias else { return };
    let units: Vec<f32> = scales.iter().map(|s| data.scale * *s * alpha).collect();
    let shape = g.constant(b).map_or(vec![channels], |t| t.shape().to_vec());
    let code = |(v, u): (&f64, &f32)| (v / f64::from(*u)).round_ties_even() as i32;
    let Ok(codes) = Tensor::new(shape.as_slice(), numbers.iter().zip(&units).map(code).collect()) else { return };
    let real = constant(g, l, b, codes, (units, shape.len() - 1));
    g.edit_node(l.id, |e| e.inputs()[2] = Some(real));
}

/// The numbers of constant codes that stand for the constant `of`, with scales along an axis.
fn constant(g: &mut Graph, l: &Layer, of: ValueId, codes: Tensor, (scales, axis): (Vec<f32>, usize)) -> ValueId {
    let name = g.value(of).name.to_string();
    let ty = TensorType::fixed(DType::F32, codes.shape());
    let codes = g.add_const(&format!("{name}.q"), codes);
    let scales = g.add_const(&format!("{name}.scale"), Tensor::vector(scales));
    let b = onnx(g, l.id, "DequantizeLinear").inputs([codes, scales]).attr("axis", axis as i64);
    g.add_op(b, &format!("{name}.dq"), ty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let cases = [
            ("", "", true),
            ("*", "", true),
            ("conv?", "conv1", true),
            ("conv?", "conv", false),
            ("*/head/*", "a/head/b", true),
            ("*a*b", "xaxbxb", true),
            ("*a*b", "xaxbx", false),
            ("conv1", "conv10", false),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(matches_glob(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn zero_has_a_code() {
        for (range, scale, zero) in [((0.0, 2.55), 0.01, 0), ((-1.0, 1.55), 0.01, 100), ((0.0, 0.0), 1.0 / 255.0, 0)] {
            let p = unsigned(range);
            assert!((p.scale - scale).abs() < 1e-7, "{range:?}");
            assert_eq!((p.zero, p.number(p.zero)), (zero, 0.0), "{range:?}");
        }
    }
}
