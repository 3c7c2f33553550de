//! Rules about elementwise nodes.

use crate::PassCx;
use crate::infer::same;
use crate::rewrite::{floats, from_floats, producer_op, remove_chain, replace, uniform};
use planc_ir::{Graph, NodeId, OpName, ValueId};
use planc_tensor::{DType, Tensor};

/// Operand `i` of the node if it is a constant.
fn constant(g: &Graph, id: NodeId, i: usize) -> Option<&Tensor> {
    g.node(id).input(i).and_then(|v| g.constant(v))
}

/// Makes readers of the node's result read `x` if both have one type.
fn becomes(g: &mut Graph, id: NodeId, x: ValueId) -> bool {
    let Some(y) = g.node(id).output(0) else { return false };
    same(&g.value(x).ty, &g.value(y).ty) && replace(g, y, x)
}

/// x + 0, x - 0, x * 1, x / 1, x to the power 1.
pub(super) fn neutral_operand(g: &mut Graph, id: NodeId, _: &mut PassCx<'_>) -> bool {
    let n = g.node(id);
    let neutral: &[(&str, usize, f64)] = &[
        ("Add", 0, 0.0),
        ("Add", 1, 0.0),
        ("Sub", 1, 0.0),
        ("Mul", 0, 1.0),
        ("Mul", 1, 1.0),
        ("Div", 1, 1.0),
        ("Pow", 1, 1.0),
    ];
    let found = neutral
        .iter()
        .filter(|(op, ..)| n.op.is(op))
        .find(|(_, i, value)| constant(g, id, *i).and_then(uniform) == Some(*value));
    let Some(x) = found.and_then(|(_, i, _)| n.input(1 - i)) else { return false };
    becomes(g, id, x)
}

/// f(f(x)) where that is x, or f(x).
pub(super) fn pairs(g: &mut Graph, id: NodeId, _: &mut PassCx<'_>) -> bool {
    let op = g.node(id).op.name.to_string();
    let Some(mid) = g.node(id).input(0).filter(|_| g.node(id).op.domain.is_empty()) else { return false };
    let Some(before) = producer_op(g, mid, &op) else { return false };
    match op.as_str() {
        "Neg" | "Not" | "BitwiseNot" => g.node(before).input(0).is_some_and(|x| becomes(g, id, x)),
        "Relu" | "Abs" | "Sign" | "Floor" | "Ceil" | "Round" => becomes(g, id, mid),
        _ => false,
    }
}

/// The bounds of a Clip or Relu of f32 whose bounds are constants, and what it bounds.
fn bounds(g: &Graph, id: NodeId) -> Option<(f32, f32, ValueId)> {
    let n = g.node(id);
    let x = n.input(0).filter(|v| g.tensor_type(*v).is_some_and(|t| t.dtype == DType::F32))?;
    if n.op.is("Relu") {
        return Some((0.0, f32::INFINITY, x));
    }
    let bound = |i: usize, none: f32| match n.input(i) {
        None => Some(none),
        Some(v) => g.constant(v).filter(|t| t.len() == 1)?.view().to_vec::<f32>().map(|v| v[0]),
    };
    let (low, high) = (bound(1, f32::NEG_INFINITY)?, bound(2, f32::INFINITY)?);
    (n.op.is("Clip") && n.epilogue().is_none() && low <= high).then_some((low, high, x))
}

/// A Clip of a Clip, also where one of them is a Relu.
pub(super) fn clips(g: &mut Graph, id: NodeId, _: &mut PassCx<'_>) -> bool {
    let Some((c, d, mid)) = bounds(g, id) else { return false };
    let Some((before, 0)) = g.producer(mid).filter(|(p, _)| g.node(*p).epilogue().is_none()) else { return false };
    let Some((a, b, x)) = bounds(g, before) else { return false };
    let (low, high) = (a.max(c).min(d), b.max(c).min(d));
    if (low, high) == (a, b) {
        return becomes(g, id, mid);
    }
    if g.node(id).op.is("Relu") && (low, high) == (c, d) {
        g.edit_node(id, |e| e.inputs()[0] = Some(x));
    } else {
        let name = g.node(id).output(0).map(|v| g.value(v).name.to_string()).unwrap_or_default();
        let mut bound =
            |tag: &str, v: f32| v.is_finite().then(|| g.add_const(&format!("{name}.{tag}"), Tensor::scalar(v)));
        let (low, high) = (bound("min", low), bound("max", high));
        g.edit_node(id, |e| {
            e.set_op(OpName::onnx("Clip"));
            *e.inputs() = if high.is_some() { vec![Some(x), low, high] } else { vec![Some(x), low] };
        });
    }
    remove_chain(g, before);
    true
}

/// Whether every value of `from` is one of `to`.
fn widens(from: DType, to: DType) -> bool {
    use DType::*;
    // Bits that an integer needs, and bits that a float has for one.
    let digits = |t: DType| match t {
        F16 => 11,
        BF16 => 8,
        F32 => 24,
        F64 => 53,
        t => t.bits() - usize::from(!t.is_unsigned()),
    };
    match (from, to) {
        (a, b) if a == b => true,
        (Bool, b) => matches!(b, F16 | BF16 | F32 | F64) || b.is_int() && b.bits() >= 8,
        (F16 | BF16, F32 | F64) | (F32, F64) => true,
        (a, F32 | F64 | F16 | BF16) if a.is_int() => digits(a) <= digits(to) && (to != F16 || a.bits() <= 8),
        (a, b) if a.is_int() && b.is_int() => (a.is_unsigned() || !b.is_unsigned()) && digits(a) <= digits(b),
        _ => false,
    }
}

/// A Cast of a Cast that lost nothing.
pub(super) fn casts(g: &mut Graph, id: NodeId, _: &mut PassCx<'_>) -> bool {
    let Some(mid) = g.node(id).input(0).filter(|_| g.node(id).op.is("Cast")) else { return false };
    let Some(before) = producer_op(g, mid, "Cast") else { return false };
    let Some(x) = g.node(before).input(0) else { return false };
    let (Some(from), Some(to)) = (g.tensor_type(x), g.tensor_type(mid)) else { return false };
    if !widens(from.dtype, to.dtype) {
        return false;
    }
    g.edit_node(id, |e| e.inputs()[0] = Some(x));
    remove_chain(g, before);
    true
}

/// Where of a condition that is the same everywhere.
pub(super) fn constant_choice(g: &mut Graph, id: NodeId, _: &mut PassCx<'_>) -> bool {
    if !g.node(id).op.is("Where") {
        return false;
    }
    let chosen = constant(g, id, 0).and_then(uniform).map(|c| if c != 0.0 { 1 } else { 2 });
    let Some(x) = chosen.and_then(|i| g.node(id).input(i)) else { return false };
    becomes(g, id, x)
}

/// x / c as x * (1 / c) where no 1 / c rounds: c are powers of two.
pub(super) fn power_of_two_quotient(g: &mut Graph, id: NodeId, _: &mut PassCx<'_>) -> bool {
    if !g.node(id).op.is("Div") {
        return false;
    }
    let Some(t) = constant(g, id, 1).filter(|t| t.dtype() == DType::F32) else { return false };
    let Some(v) = t.view().to_vec::<f32>() else { return false };
    let exact = |v: &f32| v.is_normal() && (1.0 / v).is_normal() && v.to_bits() & 0x7f_ffff == 0;
    if !v.iter().all(exact) {
        return false;
    }
    let Ok(t) = Tensor::new(t.shape(), v.iter().map(|v| 1.0 / v).collect()) else { return false };
    let name = g.node(id).output(0).map(|v| g.value(v).name.to_string()).unwrap_or_default();
    let factor = g.add_const(&format!("{name}.factor"), t);
    g.edit_node(id, |e| {
        e.set_op(OpName::onnx("Mul"));
        e.inputs()[1] = Some(factor);
    });
    true
}

/// (x * a) * b as x * (a * b), (x + a) + b as x + (a + b), for constant a and b: rounds otherwise, so only from level 3 on.
pub(super) fn constant_chain(g: &mut Graph, id: NodeId, cx: &mut PassCx<'_>) -> bool {
    let n = g.node(id);
    if cx.options.opt_level < 3 || !(n.op.is("Mul") || n.op.is("Add")) {
        return false;
    }
    let op = n.op.name.to_string();
    // The constant operand of a node, with the other one.
    let split = |id: NodeId| -> Option<(ValueId, ValueId)> {
        let (a, b) = (g.node(id).input(0)?, g.node(id).input(1)?);
        if g.constant(b).is_some() { Some((a, b)) } else { g.constant(a).map(|_| (b, a)) }
    };
    let Some((mid, b)) = split(id) else { return false };
    let Some(before) = producer_op(g, mid, &op).filter(|_| g.single_user(mid) == Some(id)) else { return false };
    let Some((x, a)) = split(before) else { return false };
    let (Some(ta), Some(tb)) = (g.constant(a), g.constant(b)) else { return false };
    let (Some(va), Some(vb)) = (floats(ta), floats(tb)) else { return false };
    // Constants of one shape, or one of a single element.
    let shape = if tb.len() == 1 && tb.rank() <= ta.rank() { ta.shape() } else { tb.shape() };
    if ta.shape() != tb.shape() && (ta.len() != 1 || ta.rank() > tb.rank()) && (tb.len() != 1 || tb.rank() > ta.rank())
    {
        cx.decline(g, id, "the two constants have different shapes");
        return false;
    }
    let f = |x: f64, y: f64| if op == "Mul" { x * y } else { x + y };
    let at = |v: &[f64], i: usize| v[if v.len() == 1 { 0 } else { i }];
    let v: Vec<f64> = (0..va.len().max(vb.len())).map(|i| f(at(&va, i), at(&vb, i))).collect();
    let Some(t) = from_floats(ta.dtype(), shape, v) else { return false };
    let name = g.node(id).output(0).map(|v| g.value(v).name.to_string()).unwrap_or_default();
    let both = g.add_const(&format!("{name}.both"), t);
    g.edit_node(id, |e| *e.inputs() = vec![Some(x), Some(both)]);
    remove_chain(g, before);
    true
}
