//! Deterministic topological order.

use crate::{Graph, NodeId};
use cranelift_entity::{EntityRef, SecondaryMap};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

impl Graph {
    /// The nodes, producers before readers; ties by position at import, then by age (Kahn 1962 with a priority queue).
    /// Nodes on a cycle are left out, see [`Graph::cycle`].
    pub fn order(&self) -> Vec<NodeId> {
        let mut waits: SecondaryMap<NodeId, usize> = SecondaryMap::with_capacity(self.node_capacity());
        let mut readers: SecondaryMap<NodeId, Vec<NodeId>> = SecondaryMap::with_capacity(self.node_capacity());
        let mut ready = BinaryHeap::new();
        for id in self.node_ids() {
            let producers = self.node(id).reads().filter_map(|v| self.producer(v)).map(|(p, _)| p);
            for p in producers {
                waits[id] += 1;
                readers[p].push(id);
            }
            if waits[id] == 0 {
                ready.push(Reverse((self.node(id).position, id)));
            }
        }
        let mut order = Vec::new();
        while let Some(Reverse((_, id))) = ready.pop() {
            order.push(id);
            for r in &readers[id] {
                waits[*r] -= 1;
                if waits[*r] == 0 {
                    ready.push(Reverse((self.node(*r).position, *r)));
                }
            }
        }
        order
    }

    /// Nodes that wait for each other, ordered by age; empty for a proper graph.
    pub fn cycle(&self) -> Vec<NodeId> {
        let mut placed = vec![false; self.node_capacity()];
        self.order().iter().for_each(|n| placed[n.index()] = true);
        self.node_ids().filter(|n| !placed[n.index()]).collect()
    }
}
