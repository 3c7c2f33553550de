//! Puts products and sums with constants per channel into the weights and bias of the layer before.
//!
//! A batch normalisation (which `decompose` makes a product and a sum), a scale or a bias after a convolution or matrix
//! product costs a pass over the result; in the weights it costs nothing. Weights are multiplied in f64 and rounded
//! once. Declined: weights or biases that are not constant. What this pass leaves, `fuse-epilogue` may take.
//!
//! ```ir
//! // before
//! graph @g (format 1) {
//!   in %x: f32[N,1,4,4]
//!   const %w: f32[2,1,1,1] = [1.0, 2.0]
//!   const %s: f32[2,1,1] = [3.0, 0.5]
//!   const %b: f32[1,2,1,1] = [1.0, -1.0]
//!   %c: f32[N,2,4,4] = Conv(%x, %w)
//!   %m: f32[N,2,4,4] = Mul(%c, %s)
//!   %y: f32[N,2,4,4] = Add(%m, %b)
//!   out %y
//! }
//! // after
//! graph @g (format 1) {
//!   in %x: f32[N,1,4,4]
//!   const %w: f32[2,1,1,1] = [3.0, 1.0]
//!   const %y.bias: f32[2] = [1.0, -1.0]
//!   %y: f32[N,2,4,4] = Conv(%x, %w, %y.bias)
//!   out %y
//! }
//! ```

use crate::infer::same;
use crate::rewrite::{binary, floats, from_floats, is_output};
use crate::{PassCx, PassError};
use planc_ir::{Graph, NodeId, ValueId};
use planc_tensor::Tensor;

/// Runs the pass.
///
/// # Errors
/// None.
pub(crate) fn run(g: &mut Graph, cx: &mut PassCx<'_>) -> Result<usize, PassError> {
    let mut changes = cx.subgraphs(g, run)?;
    for id in g.order() {
        while g.contains(id) && fuse(g, id, cx).is_some() {
            changes += 1;
        }
    }
    Ok(changes)
}

/// A layer whose result is linear in its weights.
struct Layer {
    /// The axis of the result that channels lie along.
    axis: usize,
    /// Number of channels.
    channels: usize,
    /// The channel of each element of the weights.
    channel: Box<dyn Fn(usize) -> usize>,
    /// Whether operand 2 is a bias.
    biased: bool,
    /// Factor of the bias.
    beta: f64,
}

fn layer(g: &Graph, id: NodeId) -> Option<Layer> {
    let n = g.node(id);
    let (w, y) = (g.tensor_type(n.input(1)?)?.static_shape()?, g.tensor_type(n.output(0)?)?);
    let rank = y.rank()?;
    if n.epilogue().is_some() || !n.op.domain.is_empty() || w.len() < 2 {
        return None;
    }
    let tail = w[2..].iter().product::<usize>().max(1);
    let (last, group) = (w[w.len() - 1].max(1), usize::try_from(n.attrs.int("group").unwrap_or(1)).ok()?.max(1));
    Some(match &*n.op.name {
        "Conv" => {
            let per = w[1..].iter().product::<usize>().max(1);
            Layer { axis: 1, channels: w[0], channel: Box::new(move |i| i / per), biased: true, beta: 1.0 }
        }
        "ConvTranspose" => {
            let (m, inputs) = (w[1].max(1), (w[0] / group).max(1));
            let channel = move |i: usize| i / (tail * m) / inputs * m + i / tail % m;
            Layer { axis: 1, channels: w[1] * group, channel: Box::new(channel), biased: true, beta: 1.0 }
        }
        "Gemm" => {
            let beta = n.attrs.float("beta").unwrap_or(1.0).into();
            if n.attrs.int("transB").unwrap_or(0) != 0 {
                Layer { axis: 1, channels: w[0], channel: Box::new(move |i| i / last), biased: true, beta }
            } else {
                Layer { axis: 1, channels: w[1], channel: Box::new(move |i| i % last), biased: true, beta }
            }
        }
        "MatMul" if rank >= 2 => {
            let channel = Box::new(move |i| i % last);
            Layer { axis: rank - 1, channels: w[w.len() - 1], channel, biased: false, beta: 1.0 }
        }
        _ => return None,
    })
}

/// A constant's element for each channel, if it varies along the axis of channels at most.
fn per_channel(g: &Graph, v: ValueId, rank: usize, l: &Layer) -> Option<Vec<f64>> {
    let t = g.constant(v)?;
    let from_end = rank - l.axis;
    let fits = |(i, d): (usize, &usize)| *d == 1 || (i + 1 == from_end && *d == l.channels);
    if t.rank() > rank || !t.shape().iter().rev().enumerate().all(fits) {
        return None;
    }
    let v = floats(t)?;
    Some(if v.len() == 1 { vec![v[0]; l.channels] } else { v })
}

/// The elements of a layer's constant bias, which has one axis of channels and no other.
fn bias_per_channel(g: &Graph, v: ValueId, l: &Layer) -> Option<Vec<f64>> {
    let t = g.constant(v).filter(|t| t.len() == 1 || t.len() == l.channels && t.shape().last() == Some(&l.channels))?;
    let v = floats(t)?;
    Some(if v.len() == 1 { vec![v[0]; l.channels] } else { v })
}

/// What the only reader of the layer's result does to each channel.
enum Step {
    Scale(Vec<f64>),
    Shift(Vec<f64>),
}

fn step(g: &Graph, v: ValueId, y: ValueId, l: &Layer) -> Option<Step> {
    let rank = g.tensor_type(v)?.rank()?;
    let of = |c: ValueId| per_channel(g, c, rank, l);
    let other = |(a, b): (ValueId, ValueId)| if a == v { b } else { a };
    if let Some(operands) = binary(g, y, "Mul") {
        return of(other(operands)).map(Step::Scale);
    }
    if let Some(operands) = binary(g, y, "Add") {
        return of(other(operands)).map(Step::Shift);
    }
    if let Some((a, b)) = binary(g, y, "Sub") {
        return if a == v { of(b).map(|c| Step::Shift(c.iter().map(|c| -c).collect())) } else { None };
    }
    let (a, b) = binary(g, y, "Div")?;
    let c = of(b).filter(|c| a == v && c.iter().all(|c| *c != 0.0))?;
    Some(Step::Scale(c.iter().map(|c| 1.0 / c).collect()))
}

fn fuse(g: &mut Graph, id: NodeId, cx: &mut PassCx<'_>) -> Option<()> {
    let l = layer(g, id)?;
    let v = g.node(id).output(0)?;
    let user = g.single_user(v).filter(|_| !is_output(g, v))?;
    let y = g.node(user).output(0).filter(|y| same(&g.value(v).ty, &g.value(*y).ty))?;
    let step = step(g, v, y, &l)?;
    let bias = g.node(id).input(2);
    let old = bias.map(|b| bias_per_channel(g, b, &l));
    if old == Some(None) {
        cx.decline(g, id, "the bias is not a constant per channel");
        return None;
    }
    let old = old.flatten();
    let dtype = g.tensor_type(v)?.dtype;
    let name = g.value(y).name.to_string();
    let bias_name = bias.map_or(format!("{name}.bias"), |b| g.value(b).name.to_string());
    let set_bias = |g: &mut Graph, new: Vec<f64>| {
        let Some(t) = from_floats(dtype, &[l.channels], new) else { return };
        let made = renamed(g, bias, &bias_name, t);
        g.edit_node(id, |e| {
            e.inputs().resize(3, None);
            e.inputs()[2] = Some(made);
            e.attrs().take("beta");
        });
    };
    match step {
        Step::Scale(s) => {
            let w = g.node(id).input(1)?;
            let Some(t) = g.constant(w).cloned() else {
                cx.decline(g, id, "the weights are not constant");
                return None;
            };
            let scaled = floats(&t)?.into_iter().enumerate().map(|(i, x)| x * s[(l.channel)(i)]).collect();
            let t = from_floats(t.dtype(), t.shape(), scaled)?;
            let w_name = g.value(w).name.to_string();
            let made = renamed(g, Some(w), &w_name, t);
            g.edit_node(id, |e| e.inputs()[1] = Some(made));
            if let Some(old) = old {
                set_bias(g, old.iter().zip(&s).map(|(b, s)| b * l.beta * s).collect());
            }
        }
        Step::Shift(c) if l.biased => {
            let old = old.unwrap_or_else(|| vec![0.0; l.channels]);
            set_bias(g, old.iter().zip(&c).map(|(b, c)| b * l.beta + c).collect());
        }
        Step::Shift(_) => return None,
    }
    absorb(g, user, v, y);
    Some(())
}

/// A constant that stands for `old` and has its name where nobody else reads that.
fn renamed(g: &mut Graph, old: Option<ValueId>, name: &str, t: Tensor) -> ValueId {
    let made = g.add_const(name, t);
    if let Some(old) = old.filter(|v| g.uses(*v).len() == 1 && !is_output(g, *v)) {
        g.swap_names(old, made);
    }
    made
}

/// Removes a node that the producer of its operand `v` now does the work of; `v` takes over its name.
pub(crate) fn absorb(g: &mut Graph, user: NodeId, v: ValueId, y: ValueId) {
    let ty = g.value(y).ty.clone();
    g.edit_node(user, |e| e.inputs().clear());
    if !is_output(g, y) {
        g.swap_names(v, y);
    }
    g.replace_uses(y, v);
    g.set_type(v, ty);
    g.remove_node(user);
}
