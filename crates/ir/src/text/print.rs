//! Printing graphs.

use super::{FORMAT, Header, lex, literal};
use crate::{Def, Graph, Node, NodeId, OpName, ValueId};
use planc_tensor::{Attr, Tensor};
use std::collections::HashSet;
use std::fmt::{self, Write};

/// The text form of `g`. Nodes on a cycle, which a proper graph does not have, come last.
pub fn print(g: &Graph, header: &Header) -> String {
    let mut out = format!("graph @{} (format {FORMAT}", lex::name(&g.name));
    if let Some(opset) = header.opset {
        let _ = write!(out, ", opset {opset}");
    }
    if let Some(after) = &header.after {
        let _ = write!(out, ", after {}", lex::quote(after));
    }
    out.push_str(") {\n");
    body(&mut out, g, None, 1);
    out.push_str("}\n");
    out
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print(self, &Header::default()))
    }
}

/// The graph's nodes as printed.
pub(crate) fn nodes(g: &Graph) -> Vec<NodeId> {
    let mut nodes = g.order();
    nodes.extend(g.cycle());
    nodes
}

/// The constants that are read, in the order of their first readers.
fn constants(g: &Graph, nodes: &[NodeId]) -> Vec<ValueId> {
    let mut seen = HashSet::new();
    let reads = nodes.iter().flat_map(|n| g.node(*n).reads()).chain(g.outputs().iter().copied());
    reads.filter(|v| g.constant(*v).is_some() && seen.insert(*v)).collect()
}

/// A subgraph with the graph and node that it belongs to.
struct Owner<'a> {
    outer: &'a Graph,
    captures: &'a [crate::Capture],
}

fn body(out: &mut String, g: &Graph, owner: Option<Owner<'_>>, depth: usize) {
    let indent = "  ".repeat(depth);
    let value = |v: ValueId| format!("%{}", lex::name(&g.value(v).name));
    let typed = |v: ValueId| format!("{}: {}", value(v), g.value(v).ty);
    for v in g.inputs() {
        let _ = writeln!(out, "{indent}in {}", typed(*v));
    }
    if let Some(Owner { outer, captures }) = owner {
        for c in captures {
            let name = lex::name(&outer.value(c.outer).name);
            let _ = writeln!(out, "{indent}capture {} = %{name}", typed(c.inner));
        }
    }
    let nodes = nodes(g);
    for v in constants(g, &nodes) {
        let Def::Const(t) = &g.value(v).def else { continue };
        let _ = write!(out, "{indent}const {} = ", typed(v));
        let ty = g.tensor_type(v);
        let plain = ty.is_some_and(|ty| ty.dtype == t.dtype() && ty.static_shape().as_deref() == Some(t.shape()));
        let text = if plain { literal::data(t) } else { tensor(t) };
        let _ = writeln!(out, "{text}");
    }
    for id in nodes {
        node(out, g, g.node(id), depth);
    }
    for v in g.outputs() {
        let _ = writeln!(out, "{indent}out {}", value(*v));
    }
}

fn node(out: &mut String, g: &Graph, node: &Node, depth: usize) {
    let indent = "  ".repeat(depth);
    let value = |v: ValueId| format!("%{}", lex::name(&g.value(v).name));
    let result = |v: &Option<ValueId>| v.map_or("_".into(), |v| format!("{}: {}", value(v), g.value(v).ty));
    let results: Vec<String> = node.outputs().iter().map(result).collect();
    let results = if results.is_empty() { "do".to_string() } else { results.join(", ") + " =" };
    let operands: Vec<String> = node.inputs().iter().map(|v| v.map_or("_".into(), value)).collect();
    let _ = write!(out, "{indent}{results} {}({})", op(&node.op), operands.join(", "));
    if !node.attrs.is_empty() {
        let attrs: Vec<String> = node.attrs.iter().map(|(n, a)| format!("{}={}", lex::word(n), attr(a))).collect();
        let _ = write!(out, " {{{}}}", attrs.join(", "));
    }
    if let Some(e) = node.epilogue() {
        let _ = write!(out, " epilogue {}", e.expr);
        if !e.sides.is_empty() {
            let sides: Vec<String> = e.sides.iter().map(|v| value(*v)).collect();
            let _ = write!(out, " with ({})", sides.join(", "));
        }
    }
    out.push('\n');
    for s in &node.subgraphs {
        let _ = writeln!(out, "{indent}  subgraph {} @{} {{", lex::word(&s.name), lex::name(&s.graph.name));
        body(out, &s.graph, Some(Owner { outer: g, captures: &s.captures }), depth + 2);
        let _ = writeln!(out, "{indent}  }}");
    }
}

fn op(op: &OpName) -> String {
    match &*op.domain {
        "" => lex::word(&op.name),
        domain => format!("{}::{}", lex::word(domain), lex::word(&op.name)),
    }
}

/// An attribute's value. Empty lists say of what.
fn attr(a: &Attr) -> String {
    let list = |items: Vec<String>| format!("[{}]", items.join(","));
    match a {
        Attr::Int(v) => v.to_string(),
        Attr::Float(v) => literal::float32(*v),
        Attr::Str(v) => lex::quote(v),
        Attr::Ints(v) => list(v.iter().map(i64::to_string).collect()),
        Attr::Floats(v) if v.is_empty() => "floats []".into(),
        Attr::Floats(v) => list(v.iter().map(|v| literal::float32(*v)).collect()),
        Attr::Strs(v) if v.is_empty() => "strings []".into(),
        Attr::Strs(v) => list(v.iter().map(|v| lex::quote(v)).collect()),
        Attr::Tensor(t) => tensor(t),
    }
}

/// A tensor with its type.
fn tensor(t: &Tensor) -> String {
    let dims: Vec<String> = t.shape().iter().map(usize::to_string).collect();
    format!("tensor {}[{}] {}", t.dtype(), dims.join(","), literal::data(t))
}
