//! Merges nodes that compute the same from the same operands, and constants with equal elements.
//!
//! Exporters repeat themselves: the same shape subgraph before every reshape, the same scalar at every use. Of equal
//! nodes the first in the graph's order stays. Nodes that draw random numbers and nodes with subgraphs are not merged.
//!
//! ```ir
//! // before
//! graph @g (format 1) {
//!   in %x: f32[N]
//!   %a: f32[N] = Relu(%x)
//!   %b: f32[N] = Relu(%x)
//!   %y: f32[N] = Add(%a, %b)
//!   out %y
//! }
//! // after
//! graph @g (format 1) {
//!   in %x: f32[N]
//!   %a: f32[N] = Relu(%x)
//!   %y: f32[N] = Add(%a, %a)
//!   out %y
//! }
//! ```

use crate::rewrite::is_output;
use crate::{PassCx, PassError};
use planc_ir::{Graph, Node, NodeId, OpName, ValueId, text::content_hash};
use planc_ops::{Props, row};
use planc_tensor::{Attr, DType, Tensor};
use std::collections::HashMap;

/// Runs the pass.
///
/// # Errors
/// None.
pub(crate) fn run(g: &mut Graph, cx: &mut PassCx<'_>) -> Result<usize, PassError> {
    Ok(constants(g) + nodes(g) + cx.subgraphs(g, run)?)
}

/// Bytes of a constant that are hashed whole; of longer ones only both ends are, before comparing.
const SMALL: usize = 4096;

/// What equal constants have in common.
type ConstKey = (DType, Vec<usize>, String, Vec<u8>);

fn const_key(t: &Tensor) -> ConstKey {
    let bytes = t.view().bytes().len();
    if t.dtype() == DType::String || bytes <= SMALL {
        return (t.dtype(), t.shape().to_vec(), content_hash(t), vec![]);
    }
    let b = t.view().bytes();
    let ends = [&b[..SMALL / 64], &b[bytes - SMALL / 64..]].concat();
    (t.dtype(), t.shape().to_vec(), String::new(), ends)
}

fn constants(g: &mut Graph) -> usize {
    let mut seen: HashMap<ConstKey, Vec<ValueId>> = HashMap::new();
    let mut changes = 0;
    for v in g.value_ids() {
        let Some(t) = g.constant(v).filter(|_| !g.uses(v).is_empty()) else { continue };
        let equals = seen.entry(const_key(t)).or_default();
        match equals.iter().find(|w| g.constant(**w) == Some(t) && g.value(**w).ty == g.value(v).ty) {
            // The name of an output is part of the model's interface.
            Some(_) if is_output(g, v) => {}
            Some(first) => {
                g.replace_uses(v, *first);
                changes += 1;
            }
            None => equals.push(v),
        }
    }
    changes
}

/// What equal nodes have in common; attributes are compared after.
type NodeKey = (OpName, Vec<Option<ValueId>>, String, Vec<ValueId>);

fn node_key(n: &Node, commutative: bool) -> NodeKey {
    let mut inputs = n.inputs().to_vec();
    if commutative {
        inputs.sort();
    }
    let (expr, sides) = n.epilogue().map(|e| (e.expr.to_string(), e.sides.clone())).unwrap_or_default();
    (n.op.clone(), inputs, expr, sides)
}

fn nodes(g: &mut Graph) -> usize {
    let mut seen: HashMap<NodeKey, Vec<NodeId>> = HashMap::new();
    let mut changes = 0;
    for id in g.order() {
        let n = g.node(id);
        let Some(r) = row(&n.op) else { continue };
        if r.props.has(Props::RANDOM) || !n.subgraphs.is_empty() {
            continue;
        }
        let equals = seen.entry(node_key(n, r.props.has(Props::COMMUTATIVE))).or_default();
        match equals.iter().copied().find(|first| mergeable(g, *first, id)) {
            Some(first) => {
                for i in 0..g.node(id).outputs().len() {
                    if let (Some(old), Some(new)) = (g.node(id).output(i), g.node(first).output(i)) {
                        g.replace_uses(old, new);
                    }
                }
                g.remove_node(id);
                changes += 1;
            }
            None => equals.push(id),
        }
    }
    changes
}

/// Whether `first` gives everything that `id` gives. Two outputs of the graph need two values.
fn mergeable(g: &Graph, first: NodeId, id: NodeId) -> bool {
    let (a, b) = (g.node(first), g.node(id));
    let attrs = a.attrs.iter().count() == b.attrs.iter().count()
        && a.attrs.iter().zip(b.attrs.iter()).all(|((m, a), (n, b))| m == n && same_attr(a, b));
    let results = (0..b.outputs().len()).all(|i| match (a.output(i), b.output(i)) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(x), Some(y)) => {
            g.value(x).ty == g.value(y).ty && !(is_output(g, x) && is_output(g, y)) || g.uses(y).is_empty()
        }
    });
    attrs && results
}

/// Equality by bits: -0.0 is not 0.0.
fn same_attr(a: &Attr, b: &Attr) -> bool {
    let bits = |v: &[f32]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    match (a, b) {
        (Attr::Float(a), Attr::Float(b)) => a.to_bits() == b.to_bits(),
        (Attr::Floats(a), Attr::Floats(b)) => bits(a) == bits(b),
        (a, b) => a == b,
    }
}
