//! Runs elementwise nodes on the result of the kernel before them, before it is stored.
//!
//! Activations, residual sums and scales after a convolution or matrix product read and write the whole result again;
//! as an epilogue they work on registers. The node's other operands become the epilogue's sides; they cannot depend on
//! the kernel, whose only reader was the node. Declined: what the backend's kernel does not take.
//!
//! ```ir
//! // before
//! graph @g (format 1) {
//!   in %x: f32[N,4]
//!   in %w: f32[4,3]
//!   in %r: f32[N,3]
//!   %m: f32[N,3] = MatMul(%x, %w)
//!   %s: f32[N,3] = Add(%r, %m)
//!   %y: f32[N,3] = Relu(%s)
//!   out %y
//! }
//! // after
//! graph @g (format 1) {
//!   in %x: f32[N,4]
//!   in %w: f32[4,3]
//!   in %r: f32[N,3]
//!   %y: f32[N,3] = MatMul(%x, %w) epilogue (f32, f32) max(add(a1, a0), 0.0:f32) with (%r)
//!   out %y
//! }
//! ```

use crate::fuse_elementwise::MAX_INSTS;
use crate::fuse_linear::absorb;
use crate::rewrite::{is_output, kernel, supported};
use crate::{PassCx, PassError};
use planc_ir::{Epilogue, Graph, NodeId, ValueId};
use planc_kir::{Expr, ExprBuilder, Kernel};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Sides of an epilogue at most: each is a pointer that the kernel's inner loop carries.
const MAX_SIDES: usize = 8;

/// Runs the pass.
///
/// # Errors
/// None.
pub(crate) fn run(g: &mut Graph, cx: &mut PassCx<'_>) -> Result<usize, PassError> {
    let mut changes = cx.subgraphs(g, run)?;
    // From the end: of two kernels whose results meet, the later one adds the earlier one's.
    for id in g.order().into_iter().rev() {
        while g.contains(id) && fuse(g, id, cx).is_some() {
            changes += 1;
        }
    }
    Ok(changes)
}

/// The symbols of a value's extents.
fn symbols(g: &Graph, v: ValueId, into: &mut BTreeSet<Arc<str>>) {
    let shape = g.tensor_type(v).and_then(|t| t.shape.as_ref());
    shape.into_iter().flatten().for_each(|d| d.symbols(&mut |s| into.extend([s.clone()])));
}

fn fuse(g: &mut Graph, id: NodeId, cx: &mut PassCx<'_>) -> Option<()> {
    let n = g.node(id);
    if n.outputs().iter().skip(1).any(Option::is_some) {
        return None;
    }
    let v = n.output(0)?;
    let user = g.single_user(v).filter(|u| !is_output(g, v) && g.node(*u).epilogue().is_none())?;
    let y = g.node(user).output(0).filter(|_| g.node(user).outputs().len() == 1)?;
    let (Kernel::Map(after), read) = kernel(g, user)? else { return None };
    let (spec, operands) = kernel(g, id)?;
    let moves = matches!(
        spec,
        Kernel::Map(_) | Kernel::Reshape | Kernel::Transpose { .. } | Kernel::Slice(_) | Kernel::Concat { .. }
    );
    if moves || g.tensor_type(v)?.shape.as_ref()? != g.tensor_type(y)?.shape.as_ref()? {
        return None;
    }
    let read: Vec<ValueId> = read.into_iter().collect::<Option<_>>()?;
    let before = match n.epilogue() {
        Some(e) => e.clone(),
        None => Epilogue { expr: Expr::identity(g.tensor_type(v)?.dtype), sides: vec![] },
    };
    let joined = join(g, &before, &after, &read, v)?;
    if joined.sides.len() > MAX_SIDES || joined.expr.insts().len() > MAX_INSTS {
        cx.decline(g, user, "the epilogue would be too long");
        return None;
    }
    // Extents that only the run of the kernel tells: it is run by reference then, which has no epilogue.
    let (mut known, mut needed) = (BTreeSet::new(), BTreeSet::new());
    operands.iter().flatten().for_each(|v| symbols(g, *v, &mut known));
    symbols(g, v, &mut needed);
    if !needed.is_subset(&known) {
        cx.decline(g, user, "the extents are known only after the kernel ran");
        return None;
    }
    let weights = operands.get(1).copied().flatten();
    if matches!(spec, Kernel::ConvTranspose(_)) && weights.is_none_or(|w| g.constant(w).is_none()) {
        cx.decline(g, user, "the weights are not constant");
        return None;
    }
    let all: Vec<Option<ValueId>> = operands.iter().copied().chain(joined.sides.iter().copied().map(Some)).collect();
    if !supported(g, cx, &spec, Some(&joined.expr), &all, y) {
        let integer = matches!(spec, Kernel::GemmInteger | Kernel::ConvInteger(_));
        if integer || matches!(spec, Kernel::Gemm(_) | Kernel::Conv(_) | Kernel::ConvTranspose(_)) {
            cx.decline(g, user, format!("the backend's {} does not take it as an epilogue", spec.name()));
        }
        return None;
    }
    g.edit_node(id, |e| e.set_epilogue(Some(joined)));
    absorb(g, user, v, y);
    Some(())
}

/// The program of an epilogue followed by one that reads its result as value `v`.
fn join(g: &Graph, before: &Epilogue, after: &Expr, read: &[ValueId], v: ValueId) -> Option<Epilogue> {
    let mut b = ExprBuilder::new(before.expr.args());
    let args: Vec<_> = (0..before.expr.args().len()).map(|i| b.arg(i as u16)).collect();
    let result = b.inline(&before.expr, &args);
    let mut sides = before.sides.clone();
    let mut regs = vec![];
    for r in read {
        regs.push(if *r == v {
            result
        } else if let Some(at) = sides.iter().position(|s| s == r) {
            b.arg(at as u16 + 1)
        } else {
            sides.push(*r);
            let n = b.add_arg(g.tensor_type(*r)?.dtype);
            b.arg(n)
        });
    }
    let result = b.inline(after, &regs);
    Some(Epilogue { expr: b.finish(result), sides })
}
