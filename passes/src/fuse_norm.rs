//! Joins what spells a layer or root-mean-square normalisation into one node.
//!
//! Exporters write the formula: mean, difference, square, mean, root, quotient, scale, shift. One kernel reads its
//! operand once where the formula reads and writes it nine times. Known spellings: the square as a power or a product,
//! the root as `Sqrt` or a power, the quotient as `Div`, or `Mul` by a reciprocal. Declined: axes that are not the last
//! ones, parameters that vary along other axes, and what the backend has no kernel for.
//!
//! ```ir
//! // before
//! graph @g (format 1) {
//!   in %x: f32[N,4]
//!   const %axis: i64[1] = [-1]
//!   const %two: f32[] = 2.0
//!   const %eps: f32[] = 0.5
//!   const %w: f32[4] = [1.0, 2.0, 3.0, 4.0]
//!   const %b: f32[4] = [4.0, 3.0, 2.0, 1.0]
//!   %mean: f32[N,1] = ReduceMean(%x, %axis)
//!   %c: f32[N,4] = Sub(%x, %mean)
//!   %square: f32[N,4] = Pow(%c, %two)
//!   %var: f32[N,1] = ReduceMean(%square, %axis)
//!   %shifted: f32[N,1] = Add(%var, %eps)
//!   %root: f32[N,1] = Sqrt(%shifted)
//!   %n: f32[N,4] = Div(%c, %root)
//!   %scaled: f32[N,4] = Mul(%n, %w)
//!   %y: f32[N,4] = Add(%scaled, %b)
//!   out %y
//! }
//! // after
//! graph @g (format 1) {
//!   in %x: f32[N,4]
//!   const %w: f32[4] = [1.0, 2.0, 3.0, 4.0]
//!   const %b: f32[4] = [4.0, 3.0, 2.0, 1.0]
//!   %y: f32[N,4] = LayerNormalization(%x, %w, %b) {axis=1, epsilon=0.5}
//!   out %y
//! }
//! ```

use crate::rewrite::{binary, is_output, kernel, producer_op, remove_chain, scalar, supported, take_over};
use crate::{PassCx, PassError};
use planc_ir::{Graph, NodeBuilder, NodeId, OpName, ValueId};
use planc_kir::{Kernel, Norm, NormKind, ReduceOp};
use planc_tensor::{Dim, Tensor};

/// Runs the pass.
///
/// # Errors
/// None.
pub(crate) fn run(g: &mut Graph, cx: &mut PassCx<'_>) -> Result<usize, PassError> {
    let mut changes = cx.subgraphs(g, run)?;
    for id in g.order() {
        if g.contains(id) && fuse(g, id, cx).is_some() {
            changes += 1;
        }
    }
    Ok(changes)
}

/// The value whose mean over its last axes, from the given one on, a value is.
fn mean(g: &Graph, v: ValueId) -> Option<(ValueId, usize)> {
    let (id, 0) = g.producer(v)? else { return None };
    let (Kernel::Reduce(r), operands) = kernel(g, id)? else { return None };
    let x = operands.first().copied().flatten()?;
    let rank = g.tensor_type(x)?.rank()?;
    let (first, kept) = (*r.axes.first()?, g.tensor_type(v)?.rank()? == rank);
    let last = r.axes.iter().copied().eq(first..rank);
    (r.op == ReduceOp::Mean && r.is_plain() && last && kept && g.node(id).epilogue().is_none()).then_some((x, first))
}

fn square(g: &Graph, v: ValueId) -> Option<ValueId> {
    if let Some((x, y)) = binary(g, v, "Mul") {
        return (x == y).then_some(x);
    }
    let (x, power) = binary(g, v, "Pow")?;
    (scalar(g, power) == Some(2.0)).then_some(x)
}

/// e where the value is the square root of e.
fn root(g: &Graph, v: ValueId) -> Option<ValueId> {
    if let Some(id) = producer_op(g, v, "Sqrt") {
        return g.node(id).input(0);
    }
    let (x, power) = binary(g, v, "Pow")?;
    (scalar(g, power) == Some(0.5)).then_some(x)
}

/// e where the value is 1 over the square root of e.
fn inverse_root(g: &Graph, v: ValueId) -> Option<ValueId> {
    if let Some(id) = producer_op(g, v, "Reciprocal") {
        return root(g, g.node(id).input(0)?);
    }
    if let Some((one, x)) = binary(g, v, "Div") {
        return root(g, x).filter(|_| scalar(g, one) == Some(1.0));
    }
    let (x, power) = binary(g, v, "Pow")?;
    (scalar(g, power) == Some(-0.5)).then_some(x)
}

/// n and e where the value is n over the square root of e.
fn quotient(g: &Graph, v: ValueId) -> Option<(ValueId, ValueId)> {
    if let Some((n, d)) = binary(g, v, "Div") {
        return Some((n, root(g, d)?));
    }
    let (a, b) = binary(g, v, "Mul")?;
    inverse_root(g, b).map(|e| (a, e)).or_else(|| inverse_root(g, a).map(|e| (b, e)))
}

/// The other operand of a commutative node of one operator that is the only reader of a value; with the result.
fn next(g: &Graph, v: ValueId, op: &str) -> Option<(ValueId, ValueId)> {
    let id = g.single_user(v).filter(|_| !is_output(g, v))?;
    let y = g.node(id).output(0)?;
    let (a, b) = binary(g, y, op)?;
    Some((if a == v { b } else { a }, y))
}

/// Whether a parameter varies along the axes from `axis` on only, and has no extent that they do not have.
fn is_parameter(g: &Graph, v: ValueId, shape: &[Dim]) -> bool {
    let Some(s) = g.tensor_type(v).and_then(|t| t.shape.as_ref()) else { return false };
    let one = |d: &Dim| d.as_const() == Some(1);
    s.len() <= shape.len() && s.iter().rev().zip(shape.iter().rev()).all(|(a, b)| a == b || one(a))
}

fn fuse(g: &mut Graph, id: NodeId, cx: &mut PassCx<'_>) -> Option<()> {
    let quotient_value = g.node(id).output(0)?;
    let (n, e) = quotient(g, quotient_value)?;
    let (a, b) = binary(g, e, "Add")?;
    let (var, eps) = if let Some(eps) = scalar(g, b) { (a, eps) } else { (b, scalar(g, a)?) };
    let (squares, axis) = mean(g, var)?;
    if square(g, squares)? != n {
        return None;
    }
    let centre = binary(g, n, "Sub").filter(|(x, m)| mean(g, *m) == Some((*x, axis)));
    let x = centre.map_or(n, |(x, _)| x);
    let ty = g.tensor_type(x)?.clone();
    let inner = ty.shape.as_ref()?[axis..].to_vec();
    let mut y = quotient_value;
    let parameter = |g: &Graph, y: &mut ValueId, op: &str| -> Option<ValueId> {
        let (p, after) = next(g, *y, op)?;
        if !is_parameter(g, p, &inner) {
            return None;
        }
        *y = after;
        Some(p)
    };
    let scale = parameter(g, &mut y, "Mul");
    let bias = if centre.is_some() { parameter(g, &mut y, "Add") } else { None };
    let (op, kind) = match centre {
        Some(_) => ("LayerNormalization", NormKind::Layer { axis }),
        None => ("RMSNormalization", NormKind::Rms { axis }),
    };
    let norm = Kernel::Norm(Norm { kind, epsilon: eps as f32 });
    if !supported(g, cx, &norm, None, &[Some(x), scale, bias], y) {
        cx.decline(g, id, "the backend has no kernel for the normalisation");
        return None;
    }
    let name = g.value(y).name.to_string();
    let Some(scale) = scale.or_else(|| ones(g, &name, &inner, ty.dtype)) else {
        cx.decline(g, id, "the normalised extent is not constant");
        return None;
    };
    let b = NodeBuilder::new(OpName::onnx(op)).like(&g.node(g.producer(y)?.0).clone());
    let b = b.inputs([x, scale].into_iter().chain(bias)).attr("axis", axis as i64).attr("epsilon", eps as f32);
    let made = g.add_op(b, &format!("{name}.norm"), ty);
    let last = g.producer(y)?.0;
    take_over(g, y, made);
    remove_chain(g, last);
    Some(())
}

fn ones(g: &mut Graph, name: &str, shape: &[Dim], dtype: planc_tensor::DType) -> Option<ValueId> {
    let shape: Option<Vec<usize>> = shape.iter().map(Dim::as_usize).collect();
    let shape = shape?;
    let count = planc_tensor::element_count(&shape).filter(|n| *n <= 1 << 16)?;
    let t: Tensor = crate::rewrite::from_floats(dtype, &shape, vec![1.0; count])?;
    Some(g.add_const(&format!("{name}.scale"), t))
}
