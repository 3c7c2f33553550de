//! Equality of graphs as the text form shows them.

use super::print::nodes;
use crate::{Def, Graph, Node, Subgraph, ValueId};
use planc_tensor::Attr;

impl Graph {
    /// Whether both graphs have the same text: inputs, outputs, nodes in order, names, types, attributes, constants,
    /// epilogues and subgraphs. Handles, origins, known elements and values that nobody reads do not count; floats
    /// compare by their bits.
    pub fn same_as(&self, other: &Graph) -> bool {
        let (a, b) = (nodes(self), nodes(other));
        self.name == other.name
            && same_values(self, other, self.inputs(), other.inputs())
            && same_values(self, other, self.outputs(), other.outputs())
            && a.len() == b.len()
            && a.iter().zip(&b).all(|(a, b)| same_node(self, other, self.node(*a), other.node(*b)))
    }
}

fn same_values(g: &Graph, h: &Graph, a: &[ValueId], b: &[ValueId]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_value(g, h, *a, *b))
}

fn same_optional(g: &Graph, h: &Graph, a: &[Option<ValueId>], b: &[Option<ValueId>]) -> bool {
    a.len() == b.len()
        && a.iter().zip(b).all(|(a, b)| match (a, b) {
            (Some(a), Some(b)) => same_value(g, h, *a, *b),
            (a, b) => a.is_none() && b.is_none(),
        })
}

fn same_value(g: &Graph, h: &Graph, a: ValueId, b: ValueId) -> bool {
    let (a, b) = (g.value(a), h.value(b));
    let def = match (&a.def, &b.def) {
        (Def::Const(a), Def::Const(b)) => a == b,
        (Def::Input(a), Def::Input(b)) => a == b,
        (Def::Node(_, a), Def::Node(_, b)) => a == b,
        (a, b) => matches!((a, b), (Def::Capture, Def::Capture)),
    };
    def && a.name == b.name && a.ty == b.ty
}

fn same_node(g: &Graph, h: &Graph, a: &Node, b: &Node) -> bool {
    let epilogue = match (a.epilogue(), b.epilogue()) {
        // The order of independent instructions is not part of an expression's text.
        (Some(a), Some(b)) => a.expr.to_string() == b.expr.to_string() && same_values(g, h, &a.sides, &b.sides),
        (a, b) => a.is_none() && b.is_none(),
    };
    epilogue
        && a.op == b.op
        && same_optional(g, h, a.inputs(), b.inputs())
        && same_optional(g, h, a.outputs(), b.outputs())
        && a.attrs.iter().count() == b.attrs.iter().count()
        && a.attrs.iter().zip(b.attrs.iter()).all(|((m, a), (n, b))| m == n && same_attr(a, b))
        && a.subgraphs.len() == b.subgraphs.len()
        && a.subgraphs.iter().zip(&b.subgraphs).all(|(a, b)| same_subgraph(g, h, a, b))
}

fn same_subgraph(g: &Graph, h: &Graph, a: &Subgraph, b: &Subgraph) -> bool {
    a.name == b.name
        && a.captures.len() == b.captures.len()
        && a.captures
            .iter()
            .zip(&b.captures)
            .all(|(c, d)| same_value(g, h, c.outer, d.outer) && same_value(&a.graph, &b.graph, c.inner, d.inner))
        && a.graph.same_as(&b.graph)
}

fn same_attr(a: &Attr, b: &Attr) -> bool {
    match (a, b) {
        (Attr::Float(a), Attr::Float(b)) => a.to_bits() == b.to_bits(),
        (Attr::Floats(a), Attr::Floats(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
        }
        (a, b) => a == b,
    }
}
