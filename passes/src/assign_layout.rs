//! Keeps the channels of convolutional parts in blocks of 16, and converts where other parts begin.
//!
//! Convolutions run fastest on `[N, C/16, H, W, 16]`, where a pixel's channels fill whole vectors on every CPU. A
//! convolution asks for blocks; elementwise programs, poolings, resamplings, and moves of whole blocks go along with
//! what they read; everything else reads rows. A value is converted at most once in each direction, before its first
//! reader that needs it. The pass looks at kernels and shapes, never at the machine.
//!
//! ```ir
//! // before
//! graph @g (format 1) {
//!   in %x: f32[1,32,8,8]
//!   const %w: f32[16,32,1,1] = seeded(1)
//!   %y: f32[1,16,8,8] = Conv(%x, %w)
//!   out %y
//! }
//! // after
//! graph @g (format 1) {
//!   in %x: f32[1,32,8,8]
//!   const %w: f32[16,32,1,1] = seeded(1)
//!   %x.blocks: f32[1,32,8,8]@nchw16c = planc::Reorder(%x)
//!   %y.blocks: f32[1,16,8,8]@nchw16c = Conv(%x.blocks, %w)
//!   %y: f32[1,16,8,8] = planc::Reorder(%y.blocks)
//!   out %y
//! }
//! ```

use crate::rewrite::kernel;
use crate::{PassCx, PassError};
use planc_ir::{Graph, Layout, Node, NodeBuilder, NodeId, OpName, TensorType, ValueId};
use planc_kir::{Kernel, ReduceOp, ResizeMode};
use planc_tensor::{DType, Dim};
use std::collections::HashMap;

/// Runs the pass.
///
/// # Errors
/// None of its own.
pub(crate) fn run(g: &mut Graph, cx: &mut PassCx<'_>) -> Result<usize, PassError> {
    let mut changes = cx.subgraphs(g, run)?;
    let mut twins = Twins::default();
    for id in g.order() {
        let node = g.node(id);
        if let (Some(Kernel::Reorder), Some(x), Some(y)) = (kernel(g, id).map(|k| k.0), node.input(0), node.output(0)) {
            twins.note(g, x, y);
            continue;
        }
        let plan = plan(g, id, cx);
        changes += usize::from(apply(g, id, &plan, &mut twins));
    }
    let outputs: Vec<ValueId> = g.outputs().to_vec();
    for v in outputs {
        if is_blocked(g, v) {
            finish_output(g, v, &mut twins);
        }
    }
    Ok(changes)
}

/// What becomes of a node.
enum Plan {
    /// All operands in rows.
    Rows,
    /// These reads in blocks, the others as they are; the result in blocks if `result`.
    Blocks { reads: Vec<ValueId>, result: bool },
}

/// The other form of values that were converted.
#[derive(Default)]
struct Twins {
    blocks: HashMap<ValueId, ValueId>,
    rows: HashMap<ValueId, ValueId>,
}

impl Twins {
    /// Notes that `y` is `x` in the other layout.
    fn note(&mut self, g: &Graph, x: ValueId, y: ValueId) {
        let (rows, blocks) = if is_blocked(g, x) { (y, x) } else { (x, y) };
        self.blocks.insert(rows, blocks);
        self.rows.insert(blocks, rows);
    }
}

fn is_blocked(g: &Graph, v: ValueId) -> bool {
    g.tensor_type(v).is_some_and(|t| t.layout == Layout::Nchw16c)
}

/// The extents of a value of a type that has blocks.
fn shape(g: &Graph, v: ValueId) -> Option<&[Dim]> {
    let blocks = |t: DType| matches!(t, DType::F32 | DType::I32 | DType::U8 | DType::I8);
    g.tensor_type(v).filter(|t| blocks(t.dtype))?.shape.as_deref()
}

fn channels(g: &Graph, v: ValueId) -> Option<usize> {
    shape(g, v).filter(|s| s.len() == 4)?[1].as_usize()
}

fn plan(g: &Graph, id: NodeId, cx: &PassCx<'_>) -> Plan {
    let node = g.node(id);
    let blocks = match kernel(g, id) {
        Some((kernel, operands)) if node.outputs().iter().skip(1).all(Option::is_none) => {
            blocks(g, node, &kernel, &operands)
                .filter(|b| floats_only(g, node, &kernel) || exists(g, node, cx, &kernel, &operands, b))
        }
        _ => None,
    };
    match blocks {
        Some((reads, result)) => Plan::Blocks { reads, result },
        None => Plan::Rows,
    }
}

/// Whether a node reads and gives nothing but f32, for which all that [`blocks`] asks for exists. A program may compute in
/// other types than it reads.
fn floats_only(g: &Graph, node: &Node, kernel: &Kernel) -> bool {
    let float = |v: ValueId| g.tensor_type(v).is_none_or(|t| t.dtype == DType::F32);
    let program = matches!(kernel, Kernel::Map(_));
    !program && node.reads().all(float) && node.outputs().iter().flatten().all(|v| float(*v))
}

/// Whether the backend has the kernel in blocks.
fn exists(
    g: &Graph,
    node: &Node,
    cx: &PassCx<'_>,
    kernel: &Kernel,
    operands: &[Option<ValueId>],
    (reads, result): &(Vec<ValueId>, bool),
) -> bool {
    let in_blocks = |yes: bool| if yes { Layout::Nchw16c } else { Layout::RowMajor };
    let read = |v: ValueId| Some((g.tensor_type(v)?.dtype, in_blocks(reads.contains(&v))));
    let sides = node.epilogue().map_or(&[][..], |e| &e.sides);
    let inputs: Vec<_> = operands.iter().map(|v| v.and_then(read)).chain(sides.iter().map(|v| read(*v))).collect();
    let Some(out) = node.output(0).and_then(|v| g.tensor_type(v)) else { return false };
    let epilogue = node.epilogue().map(|e| &e.expr);
    (cx.options.supports)(kernel, epilogue, &inputs, &[Some((out.dtype, in_blocks(*result)))])
}

/// Which reads a node wants in blocks and whether its result comes in blocks; `None` when it runs on rows.
fn blocks(g: &Graph, node: &Node, kernel: &Kernel, operands: &[Option<ValueId>]) -> Option<(Vec<ValueId>, bool)> {
    let out = node.output(0)?;
    let x = operands.first().copied().flatten()?;
    let follows = is_blocked(g, x);
    match kernel {
        Kernel::Conv(conv) | Kernel::ConvInteger(conv) => {
            let w = g.constant(operands.get(1).copied().flatten()?)?;
            let (c, m) = (channels(g, x)?, channels(g, out)?);
            let integer = matches!(kernel, Kernel::ConvInteger(_));
            if w.rank() != 4 || w.is_empty() || w.dtype() != (if integer { DType::I8 } else { DType::F32 }) {
                return None;
            }
            // Packed weights of integers have no zero points, and x has one in all.
            if integer
                && !(zero_points(g, operands.get(2)).is_none_or(|z| z.len() == 1)
                    && zero_points(g, operands.get(3)).is_none_or(|z| z.iter().all(|z| *z == 0)))
            {
                return None;
            }
            let per_group = (c / conv.group.max(1), m / conv.group.max(1));
            let depthwise = conv.group == c && c == m;
            let dense = conv.group == 1 || per_group.0.is_multiple_of(16) && per_group.1.is_multiple_of(16);
            // Blocks that are there are read as they are: integer kernels skip quads of filling, and to multiply half a
            // block of it costs less than a conversion.
            let near = follows && (integer || c >= 8);
            let first = conv.group == 1 && c < 16 && m >= 16 && !near;
            if !(first || depthwise && c >= 8 || dense && (c >= 16 || near)) {
                return None;
            }
            let mut reads = if first { vec![] } else { vec![x] };
            reads.extend(sides(g, node, out)?);
            Some((reads, true))
        }
        Kernel::Map(_) => {
            let all: Vec<ValueId> = operands.iter().copied().collect::<Option<_>>()?;
            channels(g, out)?;
            let full = classify(g, &all, out)?;
            full.iter().any(|v| is_blocked(g, *v)).then_some((full, true))
        }
        _ if !follows || node.epilogue().is_some() => None,
        Kernel::Pool(_) => Some((vec![x], true)),
        Kernel::Reduce(r) => {
            let pixels = r.axes == [2, 3] && matches!(r.op, ReduceOp::Mean | ReduceOp::Max);
            (pixels && r.is_plain()).then_some((vec![x], false))
        }
        Kernel::Concat { axis: 1 } => {
            let all: Vec<ValueId> = operands.iter().copied().collect::<Option<_>>()?;
            let whole = |v: &ValueId| channels(g, *v).is_some_and(|c| c.is_multiple_of(16));
            all.split_last()
                .is_some_and(|(last, rest)| rest.iter().all(whole) && channels(g, *last).is_some())
                .then_some((all, true))
        }
        Kernel::Slice(s) => {
            let (c, d) = (channels(g, x)?, channels(g, out)?);
            let first = s.starts.get(1)?.as_usize()?;
            let others = s.starts.iter().enumerate().all(|(i, d)| i == 1 || d.as_const() == Some(0));
            let same = |i: usize| shape(g, x).zip(shape(g, out)).is_some_and(|(a, b)| a[i] == b[i]);
            let whole = first.is_multiple_of(16) && (d.is_multiple_of(16) || first + d == c);
            let fits = others && whole && s.steps.iter().all(|s| *s == 1) && same(0) && same(2) && same(3);
            fits.then_some((vec![x], true))
        }
        Kernel::Resize(r) => {
            let planar =
                r.axes.iter().all(|a| shape(g, x).zip(shape(g, out)).is_some_and(|(s, t)| *a >= 2 || s[*a] == t[*a]));
            let mode = matches!(r.mode, ResizeMode::Nearest(_) | ResizeMode::Linear) && !r.antialias;
            (planar && mode && r.roi.is_empty()).then_some((vec![x], true))
        }
        _ => None,
    }
}

/// Zero points; of unknown ones, none that anything accepts.
fn zero_points(g: &Graph, operand: Option<&Option<ValueId>>) -> Option<Vec<i64>> {
    let v = operand.copied().flatten()?;
    Some(g.constant(v).and_then(|t| t.view().to_i64()).unwrap_or_else(|| vec![1, 1]))
}

/// The epilogue's sides that must be in blocks.
fn sides(g: &Graph, node: &Node, out: ValueId) -> Option<Vec<ValueId>> {
    node.epilogue().map_or(Some(vec![]), |e| classify(g, &e.sides, out))
}

/// The operands of an elementwise program over blocks that must be in blocks themselves; `None` when one of them cannot
/// be read beside blocks.
fn classify(g: &Graph, operands: &[ValueId], out: ValueId) -> Option<Vec<ValueId>> {
    let result = shape(g, out)?;
    let mut full = vec![];
    for v in operands {
        let s = shape(g, *v)?;
        let one = |d: &Dim| d.as_const() == Some(1);
        if s == result || is_blocked(g, *v) {
            // A blocked operand may lack pixels (one value per channel), never channels.
            if s.len() != 4 || s[1] != result[1] {
                return None;
            }
            full.push(*v);
            continue;
        }
        // In rows: without channels, or with nothing but channels.
        let lead = result.len().checked_sub(s.len())?;
        let channel = if lead <= 1 { s.get(1 - lead) } else { None };
        let no_channels = channel.is_none_or(one);
        let only_channels = s.len() + 2 >= result.len() && s[s.len().saturating_sub(2)..].iter().all(one);
        let with_channels = channel.is_some_and(|c| c.as_usize().is_some()) && only_channels;
        if !no_channels && !with_channels {
            return None;
        }
    }
    Some(full)
}

/// Converts what the node reads and sets its result's layout; whether anything changed.
fn apply(g: &mut Graph, id: NodeId, plan: &Plan, twins: &mut Twins) -> bool {
    let in_blocks: &[ValueId] = match plan {
        Plan::Rows => &[],
        Plan::Blocks { reads, .. } => reads,
    };
    let reads: Vec<ValueId> = g.node(id).reads().collect();
    let mut swaps: Vec<(ValueId, ValueId)> = vec![];
    for v in reads {
        if swaps.iter().any(|(old, _)| *old == v) {
            continue;
        }
        if in_blocks.contains(&v) {
            if !is_blocked(g, v) {
                swaps.push((v, converted(g, id, v, Layout::Nchw16c, twins)));
            }
        } else if is_blocked(g, v) {
            swaps.push((v, converted(g, id, v, Layout::RowMajor, twins)));
        }
    }
    if !swaps.is_empty() {
        let new = |v: ValueId| swaps.iter().find(|(old, _)| *old == v).map_or(v, |(_, new)| *new);
        g.edit_node(id, |e| {
            e.inputs().iter_mut().flatten().for_each(|v| *v = new(*v));
            e.subgraphs().iter_mut().flat_map(|s| &mut s.captures).for_each(|c| c.outer = new(c.outer));
            e.map_sides(new);
        });
    }
    let mut changed = !swaps.is_empty();
    if let (Plan::Blocks { result: true, .. }, Some(out)) = (plan, g.node(id).output(0))
        && !is_blocked(g, out)
    {
        set_layout(g, out, Layout::Nchw16c);
        changed = true;
    }
    changed
}

fn set_layout(g: &mut Graph, v: ValueId, layout: Layout) {
    if let Some(ty) = g.tensor_type(v).cloned() {
        g.set_type(v, TensorType { layout, ..ty });
    }
}

/// `v` in another layout, made before node `before` unless it was made already.
fn converted(g: &mut Graph, before: NodeId, v: ValueId, layout: Layout, twins: &mut Twins) -> ValueId {
    let (known, tag) = match layout {
        Layout::RowMajor => (&twins.rows, "rows"),
        _ => (&twins.blocks, "blocks"),
    };
    if let Some(twin) = known.get(&v) {
        return *twin;
    }
    let Some(ty) = g.tensor_type(v).cloned() else { return v };
    let name = format!("{}.{tag}", g.value(v).name);
    let builder = NodeBuilder::new(OpName::new("planc", "Reorder")).inputs([v]).like(g.node(before));
    let twin = g.add_op(builder, &name, TensorType { layout, ..ty });
    twins.note(g, v, twin);
    twin
}

/// An output keeps its name, and comes in rows.
fn finish_output(g: &mut Graph, v: ValueId, twins: &mut Twins) {
    let Some((producer, _)) = g.producer(v) else { return };
    let rows = converted(g, producer, v, Layout::RowMajor, twins);
    let outputs = g.outputs().iter().map(|o| if *o == v { rows } else { *o }).collect();
    g.set_outputs(outputs);
    // The conversion takes the output's name; what it converts is named after its form.
    let name = format!("{}.blocks", g.value(v).name);
    g.swap_names(v, rows);
    g.rename(v, &name);
}
