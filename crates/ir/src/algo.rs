//! Graphs as petgraph sees them, so that its algorithms (order, components, dominators) run on ours.
//!
//! A [`GraphView`] is a borrowed graph whose edges are reads of nodes' results: one edge per read, in the order of
//! results, then of uses. Inputs, constants and outputs are values without a node and so are not part of it.

use crate::{Graph, Node, NodeId, Use, ValueId};
use cranelift_entity::EntityRef;
use petgraph::Direction;
use petgraph::visit::{
    Data, GraphBase, GraphProp, GraphRef, IntoNeighbors, IntoNeighborsDirected, IntoNodeIdentifiers, NodeCount,
    NodeIndexable, VisitMap, Visitable,
};

/// A graph as petgraph sees it; cheap to copy.
#[derive(Clone, Copy, Debug)]
pub struct GraphView<'a>(pub &'a Graph);

impl<'a> GraphView<'a> {
    /// The nodes that read a result of `id`, repeated as often as they do.
    fn readers(self, id: NodeId) -> impl Iterator<Item = NodeId> + 'a {
        let g = self.0;
        g.node(id).outputs().iter().flatten().flat_map(|v| g.uses(*v)).filter_map(|u| match u {
            Use::Node(n) => Some(*n),
            Use::Output(_) => None,
        })
    }

    /// The nodes whose results `id` reads, repeated as often as it does.
    fn producers(self, id: NodeId) -> impl Iterator<Item = NodeId> + 'a {
        self.0.node(id).reads().filter_map(|v| self.0.producer(v)).map(|(n, _)| n)
    }
}

impl GraphBase for GraphView<'_> {
    type NodeId = NodeId;
    /// The producer's result and its reader.
    type EdgeId = (ValueId, NodeId);
}

impl GraphRef for GraphView<'_> {}

impl Data for GraphView<'_> {
    type NodeWeight = Node;
    type EdgeWeight = ValueId;
}

impl GraphProp for GraphView<'_> {
    type EdgeType = petgraph::Directed;
}

impl IntoNeighbors for GraphView<'_> {
    type Neighbors = std::vec::IntoIter<NodeId>;

    fn neighbors(self, id: NodeId) -> Self::Neighbors {
        self.readers(id).collect::<Vec<_>>().into_iter()
    }
}

impl IntoNeighborsDirected for GraphView<'_> {
    type NeighborsDirected = std::vec::IntoIter<NodeId>;

    fn neighbors_directed(self, id: NodeId, direction: Direction) -> Self::NeighborsDirected {
        match direction {
            Direction::Outgoing => self.neighbors(id),
            Direction::Incoming => self.producers(id).collect::<Vec<_>>().into_iter(),
        }
    }
}

impl IntoNodeIdentifiers for GraphView<'_> {
    type NodeIdentifiers = std::vec::IntoIter<NodeId>;

    fn node_identifiers(self) -> Self::NodeIdentifiers {
        self.0.node_ids().collect::<Vec<_>>().into_iter()
    }
}

impl NodeCount for GraphView<'_> {
    fn node_count(&self) -> usize {
        self.0.node_count()
    }
}

impl NodeIndexable for GraphView<'_> {
    fn node_bound(&self) -> usize {
        self.0.node_capacity()
    }

    fn to_index(&self, id: NodeId) -> usize {
        id.index()
    }

    fn from_index(&self, i: usize) -> NodeId {
        NodeId::new(i)
    }
}

/// The nodes that a traversal has seen.
#[derive(Clone, Debug, Default)]
pub struct Visited(cranelift_entity::EntitySet<NodeId>);

impl VisitMap<NodeId> for Visited {
    fn visit(&mut self, id: NodeId) -> bool {
        self.0.insert(id)
    }

    fn is_visited(&self, id: &NodeId) -> bool {
        self.0.contains(*id)
    }

    fn unvisit(&mut self, id: NodeId) -> bool {
        self.0.remove(id)
    }
}

impl Visitable for GraphView<'_> {
    type Map = Visited;

    fn visit_map(&self) -> Visited {
        Visited::default()
    }

    fn reset_map(&self, map: &mut Visited) {
        *map = Visited::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::parse;
    use petgraph::algo::{dominators, is_cyclic_directed, tarjan_scc, toposort};
    use petgraph::visit::{Dfs, Reversed};

    /// a -> (b, c) -> d -> e, and f on its own.
    const DIAMOND: &str = r#"graph @g (format 1) {
        in %x: f32[]
        %a: f32[] = Relu(%x)
        %b: f32[] = Neg(%a)
        %c: f32[] = Abs(%a)
        %d: f32[] = Add(%b, %c)
        %e: f32[] = Mul(%d, %d)
        %f: f32[] = Neg(%x)
        out %e
        out %f
    }"#;

    fn node(g: &Graph, name: &str) -> NodeId {
        g.producer(g.find(name).unwrap()).unwrap().0
    }

    #[test]
    fn toposort_puts_producers_first() {
        let g = parse(DIAMOND).unwrap();
        let order = toposort(GraphView(&g), None).unwrap();
        assert_eq!(order.len(), 6);
        let at = |name: &str| order.iter().position(|n| *n == node(&g, name)).unwrap();
        assert!(at("a") < at("b") && at("a") < at("c") && at("b") < at("d") && at("c") < at("d") && at("d") < at("e"));
    }

    #[test]
    fn dominators_and_post_dominators_see_the_diamond() {
        let g = parse(DIAMOND).unwrap();
        let forward = dominators::simple_fast(GraphView(&g), node(&g, "a"));
        assert_eq!(forward.immediate_dominator(node(&g, "d")), Some(node(&g, "a")));
        assert_eq!(forward.immediate_dominator(node(&g, "e")), Some(node(&g, "d")));
        assert_eq!(forward.immediate_dominator(node(&g, "f")), None);
        let backward = dominators::simple_fast(Reversed(GraphView(&g)), node(&g, "e"));
        assert_eq!(backward.immediate_dominator(node(&g, "a")), Some(node(&g, "d")));
    }

    #[test]
    fn cycles_are_components() {
        let mut g = parse(DIAMOND).unwrap();
        assert!(!is_cyclic_directed(GraphView(&g)));
        assert!(tarjan_scc(GraphView(&g)).iter().all(|c| c.len() == 1));
        let (d, b) = (g.find("d").unwrap(), node(&g, "b"));
        g.edit_node(b, |e| e.inputs()[0] = Some(d));
        let mut found: Vec<NodeId> = tarjan_scc(GraphView(&g)).into_iter().find(|c| c.len() > 1).unwrap();
        found.sort();
        assert_eq!(found, [b, node(&g, "d")]);
        assert!(toposort(GraphView(&g), None).is_err());
    }

    #[test]
    fn removed_nodes_are_gone() {
        let mut g = parse(DIAMOND).unwrap();
        let (b, x) = (g.find("b").unwrap(), g.find("x").unwrap());
        let dead = node(&g, "b");
        g.replace_uses(b, x);
        g.remove_node(dead);
        let view = GraphView(&g);
        assert_eq!((view.node_count(), view.node_bound()), (5, 6));
        let mut dfs = Dfs::new(view, node(&g, "a"));
        let mut reached = 0;
        while let Some(n) = dfs.next(view) {
            assert_ne!(n, dead);
            reached += 1;
        }
        assert_eq!(reached, 4);
    }
}
