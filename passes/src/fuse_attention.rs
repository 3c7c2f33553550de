//! Joins the products, scaling, mask and softmax of scaled dot-product attention into one node.
//!
//! The scores `[B, H, S, T]` are the largest values of a transformer and are read and written four times; one kernel
//! keeps a block of them in cache (Dao et al. 2022). The transposition of k goes into the node. Operands of rank 3 count
//! as one batch. Heads of k and v that were repeated for several heads of q (Ainslie et al. 2023) are read where they are.
//! Declined: scores that others read, batches that broadcast, and what the backend has no kernel for.
//!
//! ```ir
//! // before
//! graph @g (format 1) {
//!   in %q: f32[B,2,S,4]
//!   in %k: f32[B,2,T,4]
//!   in %v: f32[B,2,T,4]
//!   in %m: f32[B,1,1,T]
//!   const %half: f32[] = 0.5
//!   %t: f32[B,2,4,T] = Transpose(%k) {perm=[0,1,3,2]}
//!   %dot: f32[B,2,S,T] = MatMul(%q, %t)
//!   %scaled: f32[B,2,S,T] = Mul(%dot, %half)
//!   %masked: f32[B,2,S,T] = Add(%scaled, %m)
//!   %p: f32[B,2,S,T] = Softmax(%masked)
//!   %y: f32[B,2,S,4] = MatMul(%p, %v)
//!   out %y
//! }
//! // after
//! graph @g (format 1) {
//!   in %q: f32[B,2,S,4]
//!   in %k: f32[B,2,T,4]
//!   in %v: f32[B,2,T,4]
//!   in %m: f32[B,1,1,T]
//!   %y: f32[B,2,S,4] = planc::Attention(%q, %k, %v, %m) {scale=0.5}
//!   out %y
//! }
//! ```

use crate::rewrite::{binary, is_output, kernel, producer_op, scalar, supported, take_over};
use crate::{PassCx, PassError};
use planc_ir::{Graph, NodeBuilder, NodeId, OpName, TensorType, ValueId};
use planc_kir::{Attention, Kernel};
use planc_tensor::{Dim, Tensor};

/// Runs the pass.
///
/// # Errors
/// None.
pub(crate) fn run(g: &mut Graph, cx: &mut PassCx<'_>) -> Result<usize, PassError> {
    let mut changes = cx.subgraphs(g, run)?;
    for id in g.order() {
        if !g.contains(id) || !g.node(id).op.is("MatMul") || g.node(id).epilogue().is_some() {
            continue;
        }
        let Some(found) = find(g, id) else { continue };
        match fuse(g, id, &found, cx) {
            Ok(()) => changes += 1,
            Err(reason) => cx.decline(g, id, reason),
        }
    }
    Ok(changes)
}

/// What attention is made of.
struct Found {
    q: ValueId,
    /// k with its last two axes exchanged.
    kt: ValueId,
    v: ValueId,
    mask: Option<ValueId>,
    scale: f64,
    /// The values in between, which the fused node does not give.
    inner: Vec<ValueId>,
}

/// A value with the constant factors taken off.
fn unscaled(g: &Graph, mut v: ValueId, scale: &mut f64, inner: &mut Vec<ValueId>) -> ValueId {
    loop {
        let (x, factor) = match (binary(g, v, "Mul"), binary(g, v, "Div")) {
            (Some((a, b)), _) => match (scalar(g, a), scalar(g, b)) {
                (_, Some(c)) => (a, c),
                (Some(c), None) => (b, c),
                (None, None) => return v,
            },
            (None, Some((a, b))) => match scalar(g, b) {
                Some(c) if c != 0.0 => (a, 1.0 / c),
                _ => return v,
            },
            (None, None) => return v,
        };
        // A factor of higher rank would change the shape.
        if g.tensor_type(x).map(|t| &t.shape) != g.tensor_type(v).map(|t| &t.shape) {
            return v;
        }
        *scale *= factor;
        inner.push(v);
        v = x;
    }
}

fn find(g: &Graph, id: NodeId) -> Option<Found> {
    let (p, v) = (g.node(id).input(0)?, g.node(id).input(1)?);
    let (softmax, 0) = g.producer(p)? else { return None };
    let (Kernel::Softmax(s), operands) = kernel(g, softmax)? else { return None };
    let rank = g.tensor_type(p)?.rank()?;
    if s.log || (s.axis, s.end) != (rank - 1, rank) || g.node(softmax).epilogue().is_some() {
        return None;
    }
    let scores = operands.first().copied().flatten()?;
    let (mut scale, mut inner) = (1.0, vec![p, scores]);
    let product = |v: ValueId| producer_op(g, v, "MatMul");
    let mut mask = None;
    let mut dot = unscaled(g, scores, &mut scale, &mut inner);
    if product(dot).is_none() {
        // With a mask the factors stand below it.
        let (a, b) = binary(g, scores, "Add")?;
        (scale, inner) = (1.0, vec![p, scores]);
        for (x, m) in [(a, b), (b, a)] {
            let (mut s, mut i) = (1.0, vec![]);
            let d = unscaled(g, x, &mut s, &mut i);
            if product(d).is_some() {
                (dot, mask, scale) = (d, Some(m), s);
                inner.extend(i);
                break;
            }
        }
    }
    inner.push(dot);
    let dot = product(dot)?;
    let (q, kt) = (g.node(dot).input(0)?, g.node(dot).input(1)?);
    let mut ignored = vec![];
    let (q, kt) = (unscaled(g, q, &mut scale, &mut ignored), unscaled(g, kt, &mut scale, &mut ignored));
    inner.dedup();
    Some(Found { q, kt, v, mask, scale, inner })
}

/// k of k transposed: what was transposed, or a new transposition.
fn straighten(g: &mut Graph, kt: ValueId, like: NodeId) -> Option<ValueId> {
    let ty = g.tensor_type(kt)?.clone();
    let mut shape = ty.shape?;
    let rank = shape.len();
    let mut perm: Vec<usize> = (0..rank).collect();
    let mut source = kt;
    if let Some(id) = producer_op(g, kt, "Transpose")
        && let Some((Kernel::Transpose { perm: p }, operands)) = kernel(g, id)
        && let Some(x) = operands.first().copied().flatten()
    {
        (source, perm) = (x, p);
    }
    perm.swap(rank - 2, rank - 1);
    if perm.iter().enumerate().all(|(i, a)| i == *a) {
        return Some(source);
    }
    shape.swap(rank - 2, rank - 1);
    let perm: Vec<i64> = perm.iter().map(|a| *a as i64).collect();
    let b = NodeBuilder::new(OpName::onnx("Transpose")).inputs([source]).like(&g.node(like).clone()).attr("perm", perm);
    Some(g.add_op(b, &format!("{}.straight", g.value(kt).name), TensorType::new(ty.dtype, shape)))
}

/// What `v`, of shape `[B, H R, T, D]`, is where each of its H heads was repeated R times: by a new axis, broadcasting it,
/// and merging it with that of the heads.
fn shared_heads(g: &Graph, v: ValueId) -> Option<ValueId> {
    let shape = |v: ValueId| g.tensor_type(v)?.shape.clone();
    let reshaped = |v: ValueId| {
        let (id, 0) = g.producer(v)? else { return None };
        let (Kernel::Reshape, operands) = kernel(g, id)? else { return None };
        operands.first().copied().flatten()
    };
    let expanded = reshaped(v)?;
    let thin = g.node(producer_op(g, expanded, "Expand")?).input(0)?;
    let heads = reshaped(thin)?;
    let ([b, merged, t, d], [_, h, r, ..]) = (&shape(v)?[..], &shape(expanded)?[..]) else { return None };
    let dims = |dims: &[&Dim]| dims.iter().map(|d| (*d).clone()).collect::<Vec<_>>();
    let fits = *merged == h.clone() * r.clone()
        && shape(expanded)? == dims(&[b, h, r, t, d])
        && shape(thin)? == dims(&[b, h, &Dim::from(1i64), t, d])
        && shape(heads)? == dims(&[b, h, t, d]);
    fits.then_some(heads)
}

fn fuse(g: &mut Graph, id: NodeId, f: &Found, cx: &PassCx<'_>) -> Result<(), String> {
    let shape = |v: ValueId| g.tensor_type(v).and_then(|t| t.shape.clone()).unwrap_or_default();
    let (q, kt, v) = (shape(f.q), shape(f.kt), shape(f.v));
    let y = g.node(id).output(0).ok_or("it has no result")?;
    let rank = q.len();
    if !(3..=4).contains(&rank) || kt.len() != rank || v.len() != rank {
        return Err(format!("operands of rank {rank}, {} and {}", kt.len(), v.len()));
    }
    if q[..rank - 2] != kt[..rank - 2] || q[..rank - 2] != v[..rank - 2] {
        return Err("the operands' batch extents differ".into());
    }
    if kt[rank - 1] != v[rank - 2] || q[rank - 1] != kt[rank - 2] {
        return Err("the operands' inner extents are not known to be equal".into());
    }
    if f.inner.iter().any(|v| is_output(g, *v) || g.uses(*v).len() != 1) {
        return Err("the scores are read elsewhere too".into());
    }
    let scores: Vec<Dim> = q[..rank - 1].iter().chain([&kt[rank - 1]]).cloned().collect();
    if let Some(m) = f.mask {
        let same = |a: &Dim, b: &Dim| a == b || a.as_const() == Some(1);
        // What the mask makes of the scores is multiplied by v, so its last extent is the number of keys, or 1, in any run
        // that gives a result; a run with another extent is an error either way.
        let keys = |a: &Dim, b: &Dim| same(a, b) || a.as_const().is_none() || b.as_const().is_none();
        let fits = g.tensor_type(m).and_then(|t| t.shape.as_ref()).is_some_and(|m| {
            let mut pairs = m.iter().rev().zip(scores.iter().rev());
            m.len() <= rank && pairs.next().is_none_or(|(a, b)| keys(a, b)) && pairs.all(|(a, b)| same(a, b))
        });
        if !fits {
            return Err("the mask is not known to broadcast to the scores".into());
        }
    }
    let spec = Kernel::Attention(Attention { scale: f.scale as f32, causal: false });
    if !supported(g, cx, &spec, None, &[Some(f.q), Some(f.kt), Some(f.v), f.mask], y) {
        return Err("the backend has no kernel for attention".into());
    }
    let k = straighten(g, f.kt, id).ok_or("the rank of k is unknown")?;
    let mut operands = vec![f.q, k, f.v];
    if let (Some(k), Some(v)) = (shared_heads(g, k), shared_heads(g, f.v))
        && g.tensor_type(k).and_then(|t| t.shape.as_ref()?.get(1).cloned())
            == g.tensor_type(v).and_then(|t| t.shape.as_ref()?.get(1).cloned())
    {
        operands = vec![f.q, k, v];
    }
    let name = g.value(y).name.to_string();
    let mut ty = g.tensor_type(y).cloned().ok_or("the result is not a tensor")?;
    let place = g.node(id).clone();
    let axes = (rank == 3).then(|| g.add_const(&format!("{name}.batch"), Tensor::vector(vec![0i64])));
    if let Some(axes) = axes {
        for v in &mut operands {
            let from = g.tensor_type(*v).cloned().ok_or("an operand is not a tensor")?;
            let shape = std::iter::once(Dim::from(1i64)).chain(from.shape.unwrap_or_default()).collect();
            let b = NodeBuilder::new(OpName::onnx("Unsqueeze")).inputs([*v, axes]).like(&place);
            *v = g.add_op(b, &format!("{}.batch", g.value(*v).name), TensorType::new(from.dtype, shape));
        }
        ty.shape = ty.shape.map(|s| std::iter::once(Dim::from(1i64)).chain(s).collect());
    }
    operands.extend(f.mask);
    let b = NodeBuilder::new(OpName::new("planc", "Attention")).inputs(operands).like(&place);
    let b = if f.scale == 1.0 { b } else { b.attr("scale", f.scale as f32) };
    let mut made = g.add_op(b, &format!("{name}.attention"), ty);
    if let Some(axes) = axes {
        let b = NodeBuilder::new(OpName::onnx("Squeeze")).inputs([made, axes]).like(&place);
        let ty = g.tensor_type(y).cloned().ok_or("the result is not a tensor")?;
        made = g.add_op(b, &format!("{name}.heads"), ty);
    }
    take_over(g, y, made);
    Ok(())
}
