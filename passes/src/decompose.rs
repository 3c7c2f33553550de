//! Rewrites operators into simpler ones where their rows say that this is better than a kernel.
//!
//! An operator's row may hold a rewriting into others (`decompose`): a normalisation with constant statistics is a
//! product and a sum that other passes fold into the convolution before it, a product of a vector is one of a matrix.
//! At level 0 only operators that have no evaluation of their own are rewritten, because nothing could run them.
//!
//! ```ir
//! // before
//! graph @g (format 1) {
//!   in %x: f32[2,3]
//!   in %v: f32[3]
//!   %y: f32[2] = MatMul(%x, %v)
//!   out %y
//! }
//! // after
//! graph @g (format 1) {
//!   in %x: f32[2,3]
//!   in %v: f32[3]
//!   const %y.column.axis: i64[1] = [1]
//!   const %y.axes: i64[1] = [1]
//!   %y.column: f32[3,1] = Unsqueeze(%v, %y.column.axis)
//!   %y.matrix: f32[2,1] = MatMul(%x, %y.column)
//!   %y: f32[2] = Squeeze(%y.matrix, %y.axes)
//!   out %y
//! }
//! ```

use crate::rewrite::{kernel, take_over};
use crate::{PassCx, PassError};
use planc_ir::Graph;
use planc_ops::{Lowered, row};

/// What comes out may be rewritten again; no operator nests deeper than this.
const DEPTH: usize = 4;

/// Runs the pass.
///
/// # Errors
/// When a made node turns out to be wrong.
pub(crate) fn run(g: &mut Graph, cx: &mut PassCx<'_>) -> Result<usize, PassError> {
    let mut changes = cx.subgraphs(g, run)?;
    for _ in 0..DEPTH {
        let before = changes;
        for id in g.order() {
            let Some(r) = row(&g.node(id).op) else { continue };
            let Some(decompose) = r.decompose else { continue };
            if cx.options.opt_level == 0 && !stuck(g, id) || g.node(id).epilogue().is_some() {
                continue;
            }
            let outputs = g.node(id).outputs().to_vec();
            match decompose(g, id) {
                Ok(values) => {
                    let made: Vec<_> = values.iter().flatten().filter_map(|v| g.producer(*v)).map(|(n, _)| n).collect();
                    let mut replaced = true;
                    for (old, new) in outputs.iter().zip(&values) {
                        if let (Some(old), Some(new)) = (old, new) {
                            replaced &= take_over(g, *old, *new);
                        }
                    }
                    if !replaced {
                        made.into_iter().for_each(|n| crate::rewrite::remove_chain(g, n));
                        cx.decline(g, id, "an output of the graph would lose its name");
                    }
                    changes += usize::from(replaced);
                }
                // With a kernel of its own the node did not need rewriting.
                Err(reason) if kernel(g, id).is_none() => cx.decline(g, id, reason),
                Err(_) => {}
            }
        }
        if changes == before {
            break;
        }
        crate::infer::graph(g).map_err(|error| cx.wrong(error))?;
    }
    Ok(changes)
}

/// Whether nothing but a rewriting makes the node run.
fn stuck(g: &Graph, id: planc_ir::NodeId) -> bool {
    let Some(r) = row(&g.node(id).op) else { return false };
    let lowered = planc_ops::LowerCx::of(g, id).map(|cx| (r.lower)(&cx));
    r.eval.is_none() && lowered == Some(Lowered::Reference)
}
