//! Reorders nodes so that less memory is alive at once.
//!
//! The arena of a plan is placed by lifetimes, and lifetimes follow from the order of nodes. A model's own order often
//! computes values long before they are read (every branch first, then every join). Among the nodes that could run next
//! the pass takes the one after which the fewest bytes are alive, and keeps the new order only if its peak is lower.
//! It needs constant extents: where a symbol decides over sizes, the order stays, and the reason is noted.
//!
//! ```ir
//! // before
//! graph @g (format 1) {
//!   in %x: f32[100]
//!   %a: f32[100] = Exp(%x)
//!   %b: f32[100] = Neg(%x)
//!   %c: f32[100] = Sqrt(%x)
//!   %sum.a: f32[] = ReduceSum(%a) {keepdims=0}
//!   %sum.b: f32[] = ReduceSum(%b) {keepdims=0}
//!   %sum.c: f32[] = ReduceSum(%c) {keepdims=0}
//!   out %sum.a
//!   out %sum.b
//!   out %sum.c
//! }
//! // after
//! graph @g (format 1) {
//!   in %x: f32[100]
//!   %a: f32[100] = Exp(%x)
//!   %sum.a: f32[] = ReduceSum(%a) {keepdims=0}
//!   %b: f32[100] = Neg(%x)
//!   %sum.b: f32[] = ReduceSum(%b) {keepdims=0}
//!   %c: f32[100] = Sqrt(%x)
//!   %sum.c: f32[] = ReduceSum(%c) {keepdims=0}
//!   out %sum.a
//!   out %sum.b
//!   out %sum.c
//! }
//! ```

use crate::{PassCx, PassError};
use planc_ir::{Def, Graph, NodeId, Use, ValueId};
use std::collections::{BTreeSet, HashMap};

/// Runs the pass.
///
/// # Errors
/// None of its own.
pub(crate) fn run(g: &mut Graph, cx: &mut PassCx<'_>) -> Result<usize, PassError> {
    let changes = cx.subgraphs(g, run)?;
    let order = g.order();
    let sizes = match order.iter().try_fold(HashMap::new(), |sizes, id| add_sizes(g, *id, sizes)) {
        Ok(sizes) => sizes,
        Err(id) => {
            cx.decline(g, id, "a size depends on a symbol");
            return Ok(changes);
        }
    };
    let better = schedule(g, &order, &sizes);
    if peak(g, &better, &sizes) < peak(g, &order, &sizes) {
        g.set_order(&better);
        return Ok(changes + 1);
    }
    Ok(changes)
}

/// Bytes of each result; the node itself where they are not constant.
fn add_sizes(g: &Graph, id: NodeId, mut sizes: HashMap<ValueId, u64>) -> Result<HashMap<ValueId, u64>, NodeId> {
    for v in g.node(id).outputs().iter().flatten() {
        let bytes = g.tensor_type(*v).and_then(|t| t.layout.stored_bytes(t.dtype, &t.static_shape()?));
        sizes.insert(*v, bytes.ok_or(id)? as u64);
    }
    Ok(sizes)
}

/// What is alive while nodes run one after the other.
struct Alive<'a> {
    g: &'a Graph,
    sizes: &'a HashMap<ValueId, u64>,
    /// Reads still to come, by result; an output of the graph is read at the end.
    reads: HashMap<ValueId, usize>,
    bytes: u64,
}

impl<'a> Alive<'a> {
    fn new(g: &'a Graph, sizes: &'a HashMap<ValueId, u64>) -> Alive<'a> {
        let reads = g.value_ids().filter(|v| matches!(g.value(*v).def, Def::Node(..))).map(|v| (v, g.uses(v).len()));
        Alive { g, sizes, reads: reads.collect(), bytes: 0 }
    }

    fn size(&self, v: ValueId) -> u64 {
        self.sizes.get(&v).copied().unwrap_or(0)
    }

    /// Bytes that a node adds, and bytes that nobody needs after it.
    fn effect(&self, id: NodeId) -> (u64, u64) {
        let node = self.g.node(id);
        let made: u64 = node.outputs().iter().flatten().map(|v| self.size(*v)).sum();
        let mut read: Vec<ValueId> = node.reads().collect();
        read.sort_unstable();
        let mut freed =
            node.outputs().iter().flatten().filter(|v| self.g.uses(**v).is_empty()).map(|v| self.size(*v)).sum();
        for group in read.chunk_by(|a, b| a == b) {
            if self.reads.get(&group[0]) == Some(&group.len()) {
                freed += self.size(group[0]);
            }
        }
        (made, freed)
    }

    /// Runs a node; the bytes alive while it runs.
    fn run(&mut self, id: NodeId) -> u64 {
        let (made, freed) = self.effect(id);
        let during = self.bytes + made;
        for v in self.g.node(id).reads() {
            self.reads.entry(v).and_modify(|n| *n = n.saturating_sub(1));
        }
        self.bytes = during - freed.min(during);
        during
    }
}

/// The most bytes alive at once.
fn peak(g: &Graph, order: &[NodeId], sizes: &HashMap<ValueId, u64>) -> u64 {
    let mut alive = Alive::new(g, sizes);
    order.iter().map(|id| alive.run(*id)).max().unwrap_or(0)
}

/// An order in which each next node leaves the fewest bytes alive; ties keep the order there is.
fn schedule(g: &Graph, order: &[NodeId], sizes: &HashMap<ValueId, u64>) -> Vec<NodeId> {
    let rank: HashMap<NodeId, usize> = order.iter().enumerate().map(|(i, id)| (*id, i)).collect();
    let producers = |id: NodeId| g.node(id).reads().filter_map(|v| g.producer(v)).map(|(p, _)| p);
    let mut waits: Vec<usize> = order.iter().map(|id| producers(*id).count()).collect();
    let mut ready: BTreeSet<usize> = (0..order.len()).filter(|i| waits[*i] == 0).collect();
    let mut alive = Alive::new(g, sizes);
    let mut result = Vec::with_capacity(order.len());
    while let Some(i) = next(&alive, order, &ready) {
        ready.remove(&i);
        alive.run(order[i]);
        result.push(order[i]);
        for v in g.node(order[i]).outputs().iter().flatten() {
            for u in g.uses(*v) {
                let Use::Node(reader) = u else { continue };
                let r = rank[reader];
                waits[r] -= 1;
                if waits[r] == 0 {
                    ready.insert(r);
                }
            }
        }
    }
    result
}

/// Ready nodes that are compared: enough for every branch of real models, a bound on the work for others.
const WINDOW: usize = 64;

/// Which of the ready nodes to run: the smallest growth, then the earliest.
fn next(alive: &Alive<'_>, order: &[NodeId], ready: &BTreeSet<usize>) -> Option<usize> {
    let growth = |i: usize| {
        let (made, freed) = alive.effect(order[i]);
        i128::from(made) - i128::from(freed)
    };
    ready.iter().copied().take(WINDOW).min_by_key(|i| (growth(*i), *i))
}
