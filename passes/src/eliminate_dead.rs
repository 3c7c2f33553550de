//! Removes nodes, optional results and captures that nobody reads.
//!
//! No operator has effects besides its results, so what nobody reads is not computed. Inputs of the graph stay: they are
//! the model's interface.
//!
//! ```ir
//! // before
//! graph @g (format 1) {
//!   in %x: f32[N]
//!   %a: f32[N] = Relu(%x)
//!   %b: f32[N] = Relu(%a)
//!   %y: f32[N] = Relu(%x)
//!   out %y
//! }
//! // after
//! graph @g (format 1) {
//!   in %x: f32[N]
//!   %y: f32[N] = Relu(%x)
//!   out %y
//! }
//! ```

use crate::rewrite::remove_if_dead;
use crate::{PassCx, PassError};
use planc_ir::{Graph, NodeId};
use planc_ops::{ParamKind, row};

/// Runs the pass.
///
/// # Errors
/// None.
pub(crate) fn run(g: &mut Graph, cx: &mut PassCx<'_>) -> Result<usize, PassError> {
    // Subgraphs first: they free what they captured.
    let mut changes = cx.subgraphs(g, run)?;
    for id in g.order().into_iter().rev() {
        if remove_if_dead(g, id) {
            changes += 1;
            continue;
        }
        changes += drop_results(g, id) + drop_captures(g, id);
    }
    // A dropped capture may have been the last reader of a node further up, which was visited after it: nothing is left.
    Ok(changes)
}

/// Optional results that nobody reads are not asked for.
fn drop_results(g: &mut Graph, id: NodeId) -> usize {
    let Some(r) = row(&g.node(id).op) else { return 0 };
    let unread = |i: &usize| g.node(id).output(*i).is_some_and(|v| g.uses(v).is_empty());
    let optional = |i: &usize| r.output(*i).is_some_and(|p| p.kind == ParamKind::Optional);
    let drop: Vec<usize> = (0..g.node(id).outputs().len()).filter(unread).filter(optional).collect();
    drop.iter().for_each(|i| g.drop_output(id, *i));
    drop.len()
}

fn drop_captures(g: &mut Graph, id: NodeId) -> usize {
    let subgraphs = &g.node(id).subgraphs;
    let unread = subgraphs.iter().flat_map(|s| s.captures.iter().filter(|c| s.graph.uses(c.inner).is_empty())).count();
    if unread > 0 {
        g.edit_node(id, |e| {
            for s in e.subgraphs() {
                let graph = &s.graph;
                s.captures.retain(|c| !graph.uses(c.inner).is_empty());
            }
        });
    }
    unread
}
