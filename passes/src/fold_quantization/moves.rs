//! Moving codes instead of numbers, and pairs that cancel.

use crate::PassCx;
use crate::quantised::{self as params, Params, convert, data_operands, dequantised, moves, onnx, quantised};
use crate::rewrite::{is_output, kernel, producer_op, remove_chain, replace, scalar, take_over};
use planc_ir::{Graph, NodeBuilder, NodeId, TensorType, Use, ValueId};
use planc_kir::{Kernel, PadMode};
use planc_ops::row;
use planc_tensor::{DType, Layout, Tensor};

/// The kernel of a node that gives codes when it is given codes of type `p.dtype`; its data operands.
fn movement(g: &Graph, id: NodeId, p: Params, cx: &PassCx<'_>) -> Option<(Kernel, Vec<ValueId>)> {
    let n = g.node(id);
    let (k, operands) = kernel(g, id).filter(|(k, _)| moves(k))?;
    let data = data_operands(g, id, &k)?;
    let typed = row(&n.op).is_some_and(|r| r.input(0).is_some_and(|i| r.type_set(i.ty).has(p.dtype)));
    if !typed || n.epilogue().is_some() || n.outputs().iter().skip(1).any(Option::is_some) {
        return None;
    }
    let form = |v: &Option<ValueId>| {
        let v = (*v)?;
        let t = g.tensor_type(v)?;
        Some((if data.contains(&v) { p.dtype } else { t.dtype }, t.layout))
    };
    let mut forms: Vec<_> = operands.iter().map(form).collect();
    if matches!(k, Kernel::Pad(_)) && forms.len() > 1 {
        forms[1] = Some((p.dtype, Layout::RowMajor));
    }
    let alias = k == Kernel::Reshape;
    (alias || (cx.options.supports)(&k, None, &forms, &[Some((p.dtype, Layout::RowMajor))])).then_some((k, data))
}

/// The operands of a movement of codes that replaces `id`; `None` where what pads has no code.
fn operands(
    g: &mut Graph,
    id: NodeId,
    k: &Kernel,
    p: Params,
    codes: &[ValueId],
    exact: bool,
) -> Option<Vec<Option<ValueId>>> {
    let mut inputs = g.node(id).inputs().to_vec();
    for (i, v) in codes.iter().enumerate() {
        inputs[i] = Some(*v);
    }
    let Kernel::Pad(pad) = k else { return Some(inputs) };
    if row(&g.node(id).op).is_some_and(|r| r.input(2).is_none()) {
        // CenterCropPad pads with zeros, which are codes of zero only where the zero point is.
        return (p.zero == 0).then_some(inputs);
    }
    if pad.mode != PadMode::Constant {
        // Nobody asks for the number outside, which is no code.
        inputs.iter_mut().skip(2).take(1).for_each(|v| *v = None);
    } else {
        let number = match inputs.get(2).copied().flatten() {
            Some(v) => scalar(g, v)? as f32,
            None => 0.0,
        };
        let code = p.code(number);
        if exact && p.number(code).to_bits() != (number + 0.0).to_bits() {
            return None;
        }
        inputs.resize(inputs.len().max(3), None);
        let name = g.node(id).output(0).map_or(String::new(), |y| g.value(y).name.to_string());
        inputs[2] = Some(g.add_const(&format!("{name}.outside"), p.scalar(code)));
    }
    Some(inputs)
}

/// The movement of codes that `id` is of numbers.
fn moved(g: &mut Graph, id: NodeId, inputs: Vec<Option<ValueId>>, p: Params) -> Option<ValueId> {
    let n = g.node(id).clone();
    let y = n.output(0)?;
    let ty = TensorType { dtype: p.dtype, ..g.tensor_type(y)?.clone() };
    let name = format!("{}.codes", g.value(y).name);
    let b = NodeBuilder::new(n.op.clone()).attrs(n.attrs.clone()).optional_inputs(inputs).like(&n);
    Some(g.add_op(b, &name, ty))
}

/// Move(DQ(q)) becomes DQ(Move(q)).
pub(super) fn sink(g: &mut Graph, id: NodeId, cx: &mut PassCx<'_>) -> bool {
    let found = || {
        let (_, p) = dequantised(g, g.node(id).input(0)?)?;
        let (k, data) = movement(g, id, p, cx)?;
        let same = |v: &ValueId| dequantised(g, *v).filter(|(_, q)| *q == p).map(|(c, _)| c);
        let codes: Vec<ValueId> = data.iter().map(same).collect::<Option<_>>()?;
        Some((k, codes, p))
    };
    let Some((k, codes, p)) = found() else { return false };
    let Some(y) = g.node(id).output(0) else { return false };
    let Some(inputs) = operands(g, id, &k, p, &codes, true) else { return false };
    let Some(made) = moved(g, id, inputs, p) else { return false };
    let name = g.value(y).name.to_string();
    let (b, with) = (onnx(g, id, "DequantizeLinear"), params::operands(g, &name, p));
    let real = convert(g, b, made, with, &format!("{name}.real"), DType::F32);
    let done = take_over(g, y, real);
    fold(g, made, cx);
    done
}

/// Makes moved codes a constant where they are one: layers look for constant weights.
fn fold(g: &mut Graph, made: ValueId, cx: &mut PassCx<'_>) {
    let Some((id, 0)) = g.producer(made) else { return };
    if let Some([Some(t)]) = crate::fold_constants::constant_results(g, id, cx).as_deref() {
        g.replace_with_const(made, t.clone());
        remove_chain(g, id);
    }
}

/// Q(Move(x)) becomes Move(Q(x)), where nobody else reads the move's result.
pub(super) fn raise(g: &mut Graph, id: NodeId, cx: &mut PassCx<'_>) -> bool {
    let found = || {
        let y = g.node(id).output(0)?;
        let (x, p) = quantised(g, y)?;
        g.single_user(x)?;
        let (mover, 0) = g.producer(x)? else { return None };
        let (k, data) = movement(g, mover, p, cx)?;
        Some((y, p, mover, k, data))
    };
    let Some((y, p, mover, k, data)) = found() else { return false };
    let mut codes = vec![];
    for v in data {
        codes.push(codes_of(g, mover, v, p));
    }
    let Some(inputs) = operands(g, mover, &k, p, &codes, false) else { return false };
    let Some(made) = moved(g, mover, inputs, p) else { return false };
    take_over(g, y, made)
}

/// The codes of `v`: those that are there, or made.
fn codes_of(g: &mut Graph, like: NodeId, v: ValueId, p: Params) -> ValueId {
    if let Some((codes, q)) = dequantised(g, v)
        && q == p
    {
        return codes;
    }
    let readers: Vec<NodeId> =
        g.uses(v).iter().filter_map(|u| if let Use::Node(n) = u { Some(*n) } else { None }).collect();
    for n in readers {
        if let Some(y) = g.node(n).output(0)
            && quantised(g, y) == Some((v, p))
        {
            return y;
        }
    }
    let name = g.value(v).name.to_string();
    let (b, with) = (onnx(g, like, "QuantizeLinear"), params::operands(g, &name, p));
    convert(g, b, v, with, &format!("{name}.q"), p.dtype)
}

/// Q(DQ(q)) of the same codes is q.
pub(super) fn cancel(g: &mut Graph, id: NodeId, _: &mut PassCx<'_>) -> bool {
    let found = || {
        let y = g.node(id).output(0)?;
        let (x, p) = quantised(g, y)?;
        let (codes, q) = dequantised(g, x)?;
        (p == q).then_some((y, codes))
    };
    let Some((y, codes)) = found() else { return false };
    let made = g.value(codes).name.ends_with(".codes") && !is_output(g, y);
    if made {
        g.swap_names(y, codes);
    }
    replace(g, y, codes)
}

/// Activations that the saturation of codes does anyway: Q(max(x, 0)) where 0 is the least code.
pub(super) fn saturating(g: &mut Graph, id: NodeId, _: &mut PassCx<'_>) -> bool {
    let found = || {
        let y = g.node(id).output(0)?;
        let (x, p) = quantised(g, y)?;
        g.single_user(x)?;
        let (least, greatest) = p.range();
        if let Some(relu) = producer_op(g, x, "Relu") {
            return (p.zero == least).then_some((g.node(relu).input(0)?, relu));
        }
        let clip = producer_op(g, x, "Clip")?;
        let n = g.node(clip);
        let bound = |i: usize| n.input(i).map(|v| scalar(g, v));
        let below = bound(1).is_none_or(|b| b.is_some_and(|b| p.code(b as f32) == least));
        let above = bound(2).is_none_or(|b| b.is_some_and(|b| p.code(b as f32) == greatest));
        (below && above).then_some((n.input(0)?, clip))
    };
    let Some((source, activation)) = found() else { return false };
    g.edit_node(id, |e| e.inputs()[0] = Some(source));
    remove_chain(g, activation);
    true
}

/// Relu of numbers none of whose codes stands for a negative one.
pub(super) fn positive(g: &mut Graph, id: NodeId, _: &mut PassCx<'_>) -> bool {
    let n = g.node(id);
    let (true, Some(x), Some(y)) = (n.op.is("Relu") && n.epilogue().is_none(), n.input(0), n.output(0)) else {
        return false;
    };
    let none = dequantised(g, x).is_some_and(|(_, p)| p.zero == p.range().0);
    none && !is_output(g, y) && replace(g, y, x)
}

/// Elementwise steps between sums and their codes at most.
const DEPTH: usize = 16;

/// Whether a value comes from sums of integers through elementwise steps whose results nobody else reads.
fn from_sums(g: &Graph, v: ValueId, depth: usize) -> bool {
    let Some((id, 0)) = g.producer(v).filter(|_| depth > 0 && g.single_user(v).is_some()) else { return false };
    match kernel(g, id) {
        Some((Kernel::Map(_), operands)) => operands.iter().flatten().any(|v| from_sums(g, *v, depth - 1)),
        Some((Kernel::ConvInteger(_) | Kernel::GemmInteger, _)) => true,
        _ => false,
    }
}

/// Rounding after sums of integers takes its scale into a factor before it, and else multiplies by the reciprocal where
/// the model was not written with the division.
pub(super) fn reciprocal(g: &mut Graph, id: NodeId, cx: &mut PassCx<'_>) -> bool {
    let Some((x, p)) = g.node(id).output(0).and_then(|y| quantised(g, y)) else { return false };
    let factor = 1.0 / p.scale;
    if p.scale == 1.0 || !factor.is_finite() || !from_sums(g, x, DEPTH) {
        return false;
    }
    let name = g.value(x).name.to_string();
    let before = producer_op(g, x, "Mul").and_then(|m| Some((m, g.node(m).input(0)?, g.node(m).input(1)?)));
    let scales = before.and_then(|(m, real, s)| {
        let t = g.constant(s)?;
        let scaled = t.view().to_vec::<f32>()?.into_iter().map(|v| v / p.scale).collect();
        Some((m, real, Tensor::new(t.shape(), scaled).ok()?))
    });
    let ratio = match scales {
        Some((m, real, t)) => {
            let s = g.add_const(&format!("{name}.factor"), t);
            g.edit_node(m, |e| *e.inputs() = vec![Some(real), Some(s)]);
            // It is another number now.
            g.rename(x, &format!("{name}.ratio"));
            x
        }
        None if cx.options.quantise.is_none() => return false,
        None => {
            let (s, ty) = (g.add_const(&format!("{name}.factor"), Tensor::scalar(factor)), g.value(x).ty.clone());
            let b = onnx(g, id, "Mul").inputs([x, s]);
            g.add_op(b, &format!("{name}.ratio"), ty)
        }
    };
    let one = g.add_const(&format!("{name}.one"), Tensor::scalar(1f32));
    g.edit_node(id, |e| {
        e.inputs()[0] = Some(ratio);
        e.inputs()[1] = Some(one);
    });
    true
}
