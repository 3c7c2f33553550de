//! Runs elementwise nodes on what a reduction reads, before it is accumulated.
//!
//! A product that is only summed up need not be stored: the reduction computes each element where it needs it, and its
//! operands broadcast as those of the nodes did. A node joins when the reduction is its only reader; one whose result is
//! repeated by broadcasting joins only if it is cheap. Declined: programs for which the backend has no code, such as
//! exponentials, which precompiled kernels compute in wide vectors; and short sums of f32, for which they are faster.
//!
//! ```ir
//! // before
//! graph @g (format 1) {
//!   in %x: f32[N,512]
//!   in %m: f32[N,1]
//!   const %axes: i64[1] = [1]
//!   %d: f32[N,512] = Sub(%x, %m)
//!   %s: f32[N,512] = Mul(%d, %d)
//!   %y: f32[N] = ReduceSum(%s, %axes) {keepdims=0}
//!   out %y
//! }
//! // after
//! graph @g (format 1) {
//!   in %x: f32[N,512]
//!   in %m: f32[N,1]
//!   %y: f32[N] = planc::Reduce(%x, %m) {axes=[1], expr="(f32, f32) let t0 = sub(a0, a1) in mul(t0, t0)", keepdims=0, op="sum"}
//!   out %y
//! }
//! ```

use crate::fuse_elementwise::{MAX_INSTS, MAX_OPERANDS, Member, cheap, member, shape};
use crate::rewrite::{is_output, kernel, remove_chain, supported, take_over};
use crate::{PassCx, PassError};
use planc_ir::{Graph, NodeBuilder, NodeId, OpName, Use, ValueId};
use planc_kir::{ExprBuilder, Kernel, Reduce};
use planc_ops::elementwise::broadcast_dims;
use planc_tensor::{DType, Dim};

/// Elements per result of f32 below which two precompiled kernels take less time than one row of generated code: measured
/// with products and sums at 64 (half the speed), 256 (equal) and 1024 (1.3 times the speed; 2.4 beyond the caches).
const SHORT: usize = 256;

/// Runs the pass.
///
/// # Errors
/// None.
pub(crate) fn run(g: &mut Graph, cx: &mut PassCx<'_>) -> Result<usize, PassError> {
    let mut changes = cx.subgraphs(g, run)?;
    for id in g.order().into_iter().rev() {
        if g.contains(id) && fuse(g, id, cx).is_some() {
            changes += 1;
        }
    }
    Ok(changes)
}

/// The extents that values broadcast to.
fn full(g: &Graph, operands: &[ValueId]) -> Option<Vec<Dim>> {
    operands.iter().try_fold(vec![], |all, v| broadcast_dims(&all, shape(g, *v)?).ok())
}

/// Elements per result, where they are constant.
fn reduced_elements(axes: &[usize], domain: &[Dim]) -> Option<usize> {
    axes.iter().try_fold(1usize, |n, a| n.checked_mul(domain.get(*a)?.as_usize()?))
}

fn fuse(g: &mut Graph, id: NodeId, cx: &mut PassCx<'_>) -> Option<()> {
    let (Kernel::Reduce(first), operands) = kernel(g, id)? else { return None };
    let node = g.node(id).clone();
    if node.outputs().iter().skip(1).any(Option::is_some) {
        return None;
    }
    let result = node.output(0)?;
    let mut operands: Vec<ValueId> = operands.into_iter().collect::<Option<_>>()?;
    let domain = full(g, &operands)?;
    let count = reduced_elements(&first.axes, &domain);
    let short = count.is_some_and(|n| n < SHORT) && first.map.result_type() == DType::F32;
    let sides = node.epilogue().map_or(&[][..], |e| &e.sides);
    let mut reduce = first;
    let mut declined = vec![];
    let mut joined = vec![];
    loop {
        let candidate = operands.iter().find_map(|v| {
            let (producer, _) = g.producer(*v).filter(|(n, _)| !declined.contains(n))?;
            // What a joined node reads may be read by other joined nodes.
            let inside = |u: &Use| matches!(u, Use::Node(n) if *n == id || joined.contains(n));
            let m = member(g, producer)?;
            let alone = !is_output(g, *v) && !sides.contains(v) && g.uses(*v).iter().all(inside);
            (alone && (shape(g, *v)? == &domain || cheap(&m.expr))).then_some((producer, m))
        });
        let Some((producer, m)) = candidate else { break };
        if short {
            cx.decline(g, producer, "too few elements per result");
            return None;
        }
        let found = join(g, &reduce, &operands, &m).filter(|(_, operands)| full(g, operands).as_ref() == Some(&domain));
        let fits = found.filter(|(reduce, operands)| {
            let all: Vec<Option<ValueId>> = operands.iter().chain(sides).copied().map(Some).collect();
            let kernel = Kernel::Reduce(reduce.clone());
            operands.len() <= MAX_OPERANDS
                && reduce.map.insts().len() <= MAX_INSTS
                && supported(g, cx, &kernel, node.epilogue().map(|e| &e.expr), &all, result)
        });
        match fits {
            Some((new, read)) => {
                (reduce, operands) = (new, read);
                joined.push(producer);
            }
            None => {
                cx.decline(g, producer, "the backend's reduction does not take it");
                declined.push(producer);
            }
        }
    }
    if joined.is_empty() {
        return None;
    }
    let ty = g.value(result).ty.clone();
    let keep = g.tensor_type(result)?.rank()? == domain.len();
    let axes: Vec<i64> = reduce.axes.iter().map(|a| *a as i64).collect();
    let b = NodeBuilder::new(OpName::new("planc", "Reduce")).inputs(operands).like(&node);
    let b = b.attr("axes", axes).attr("expr", reduce.map.to_string()).attr("op", reduce.op.name());
    let b = if keep { b } else { b.attr("keepdims", 0i64) };
    let made = g.add_op(b, &format!("{}.reduce", g.value(result).name), ty);
    if let (Some(epilogue), Some((new, _))) = (node.epilogue(), g.producer(made)) {
        g.edit_node(new, |e| e.set_epilogue(Some(epilogue.clone())));
    }
    take_over(g, result, made);
    remove_chain(g, id);
    Some(())
}

/// The reduction with an elementwise node in the place of the operand that it makes; its operands.
fn join(g: &Graph, reduce: &Reduce, operands: &[ValueId], m: &Member) -> Option<(Reduce, Vec<ValueId>)> {
    let mut b = ExprBuilder::new(&[]);
    let mut read: Vec<ValueId> = vec![];
    let mut operand = |b: &mut ExprBuilder, v: ValueId| {
        let at = match read.iter().position(|r| *r == v) {
            Some(at) => at as u16,
            None => {
                read.push(v);
                b.add_arg(g.tensor_type(v)?.dtype)
            }
        };
        Some(b.arg(at))
    };
    // The node's operands take the place of its result.
    let mut args = vec![];
    for v in operands {
        args.push(if *v == m.result {
            let inner = m.operands.iter().map(|v| operand(&mut b, *v)).collect::<Option<Vec<_>>>()?;
            b.inline(&m.expr, &inner)
        } else {
            operand(&mut b, *v)?
        });
    }
    let last = b.inline(&reduce.map, &args);
    let map = b.finish(last);
    (!read.is_empty()).then(|| (Reduce { map, ..reduce.clone() }, read))
}
