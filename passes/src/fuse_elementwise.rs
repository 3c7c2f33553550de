//! Joins elementwise nodes into one node that runs a scalar program per element.
//!
//! Elementwise nodes are bound by memory: a chain of ten reads and writes its values ten times, one program once. A node
//! joins its readers when all of them are in the group, so nothing is computed twice; a smaller value that broadcasts
//! joins only if it is cheap. Groups end at 16 operands and 64 instructions, which registers and cache hold.
//!
//! ```ir
//! // before
//! graph @g (format 1) {
//!   in %x: f32[N,4]
//!   in %b: f32[4]
//!   %s: f32[N,4] = Add(%x, %b)
//!   %t: f32[N,4] = Sigmoid(%s)
//!   %y: f32[N,4] = Mul(%s, %t)
//!   out %y
//! }
//! // after
//! graph @g (format 1) {
//!   in %x: f32[N,4]
//!   in %b: f32[4]
//!   %y: f32[N,4] = planc::Map(%x, %b) {expr="(f32, f32) let t0 = add(a0, a1) in mul(t0, sigmoid(t0))"}
//!   out %y
//! }
//! ```

use crate::rewrite::{is_output, kernel, remove_chain, supported, take_over};
use crate::{PassCx, PassError};
use planc_ir::{Graph, NodeBuilder, NodeId, OpName, Use, ValueId};
use planc_kir::{BinOp, Expr, ExprBuilder, Inst, Kernel, Reg, UnOp};
use planc_ops::elementwise::broadcast_dims;
use planc_tensor::Dim;
use std::collections::{BTreeMap, BTreeSet};

/// Operands of a group at most: more do not stay in registers as pointers.
pub(crate) const MAX_OPERANDS: usize = 16;
/// Instructions of a group at most.
pub(crate) const MAX_INSTS: usize = 64;
/// Instructions of a smaller value that are cheap enough to repeat for every element.
const CHEAP: usize = 4;

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

/// An elementwise node: its program, operands and result.
pub(crate) struct Member {
    pub(crate) expr: Expr,
    pub(crate) operands: Vec<ValueId>,
    pub(crate) result: ValueId,
}

/// The node as an elementwise one.
pub(crate) fn member(g: &Graph, id: NodeId) -> Option<Member> {
    let n = g.node(id);
    if n.epilogue().is_some() || n.outputs().iter().skip(1).any(Option::is_some) {
        return None;
    }
    let (Kernel::Map(expr), operands) = kernel(g, id)? else { return None };
    Some(Member { expr, operands: operands.into_iter().collect::<Option<_>>()?, result: n.output(0)? })
}

/// A value's extents.
pub(crate) fn shape(g: &Graph, v: ValueId) -> Option<&Vec<Dim>> {
    g.tensor_type(v)?.shape.as_ref()
}

/// Whether a program may be repeated for elements that broadcasting repeats.
pub(crate) fn cheap(e: &Expr) -> bool {
    let fast = |i: &Inst| match i {
        Inst::Unary(op, _) => matches!(op, UnOp::Neg | UnOp::Abs | UnOp::Not),
        Inst::Binary(op, ..) => !matches!(op, BinOp::Div | BinOp::Rem | BinOp::Mod | BinOp::Pow),
        _ => true,
    };
    e.insts().len() <= CHEAP && e.insts().iter().all(fast)
}

fn fuse(g: &mut Graph, root: NodeId, cx: &mut PassCx<'_>) -> Option<()> {
    let first = member(g, root)?;
    let (result, full) = (first.result, shape(g, first.result)?.clone());
    let mut group: BTreeMap<NodeId, Member> = BTreeMap::from([(root, first)]);
    let mut tried: BTreeSet<NodeId> = BTreeSet::new();
    let mut best = None;
    loop {
        let operands = group.values().flat_map(|m| m.operands.iter().copied());
        let candidates: BTreeSet<NodeId> = operands.filter_map(|v| g.producer(v)).map(|(n, _)| n).collect();
        let joins = |id: &NodeId| -> Option<(NodeId, Member)> {
            if group.contains_key(id) || tried.contains(id) {
                return None;
            }
            let m = member(g, *id)?;
            let inside = |u: &Use| matches!(u, Use::Node(n) if group.contains_key(n));
            let size = shape(g, m.result)?;
            let fits = *size == full || cheap(&m.expr);
            (fits && !is_output(g, m.result) && g.uses(m.result).iter().all(inside)).then_some((*id, m))
        };
        let Some((id, m)) = candidates.iter().rev().find_map(joins) else { break };
        group.insert(id, m);
        match program(g, &group, result, &full).filter(|(e, v)| within(g, cx, e, v, result)) {
            Some(found) => best = Some(found),
            None => {
                group.remove(&id);
                tried.insert(id);
            }
        }
    }
    let (expr, operands) = best?;
    let ty = g.value(result).ty.clone();
    let b = NodeBuilder::new(OpName::new("planc", "Map")).inputs(operands).like(&g.node(root).clone());
    let made = g.add_op(b.attr("expr", expr.to_string()), &format!("{}.map", g.value(result).name), ty);
    take_over(g, result, made);
    remove_chain(g, root);
    Some(())
}

fn within(g: &Graph, cx: &PassCx<'_>, e: &Expr, operands: &[ValueId], result: ValueId) -> bool {
    let values: Vec<Option<ValueId>> = operands.iter().copied().map(Some).collect();
    operands.len() <= MAX_OPERANDS
        && e.insts().len() <= MAX_INSTS
        && supported(g, cx, &Kernel::Map(e.clone()), None, &values, result)
}

/// The group as one program, if its operands alone broadcast to the whole result.
fn program(g: &Graph, group: &BTreeMap<NodeId, Member>, result: ValueId, full: &[Dim]) -> Option<(Expr, Vec<ValueId>)> {
    let mut b = ExprBuilder::new(&[]);
    let mut operands: Vec<ValueId> = vec![];
    let mut made: BTreeMap<ValueId, Reg> = BTreeMap::new();
    // The order of the graph restricted to the group: a member is ready when the members it reads are.
    let mut waiting: Vec<&Member> = group.values().collect();
    while !waiting.is_empty() {
        let is_made = |v: &ValueId| made.contains_key(v) || !group.values().any(|m| m.result == *v);
        let at = waiting.iter().position(|m| m.operands.iter().all(is_made))?;
        let m = waiting.remove(at);
        let mut regs = vec![];
        for v in &m.operands {
            let reg = match made.get(v) {
                Some(reg) => *reg,
                None => {
                    let n = b.add_arg(g.tensor_type(*v)?.dtype);
                    operands.push(*v);
                    let reg = b.arg(n);
                    made.insert(*v, reg);
                    reg
                }
            };
            regs.push(reg);
        }
        let reg = b.inline(&m.expr, &regs);
        made.insert(m.result, reg);
    }
    let expr = b.finish(*made.get(&result)?);
    let mut shape_of = vec![];
    for v in &operands {
        shape_of = broadcast_dims(&shape_of, shape(g, *v)?).ok()?;
    }
    (!operands.is_empty() && shape_of == full).then_some((expr, operands))
}
