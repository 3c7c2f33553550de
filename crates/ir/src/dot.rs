//! Graphviz output of a graph, for looking at it.
//!
//! Guarantees: the same graph gives the same bytes; names of operators, values and types stand in the labels, escaped;
//! subgraphs are clusters beside their node, captures dashed edges. Deliberately absent: parsing it back (the text form
//! is for that), attributes and the elements of constants.

use crate::{Def, Graph, Node, ValueId};
use std::fmt::Write;

/// The graph in the DOT language.
pub fn dot(g: &Graph) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "digraph \"{}\" {{", escape(&g.name));
    out.push_str(
        "  node [shape=box, fontname=\"monospace\", fontsize=10];\n  edge [fontname=\"monospace\", fontsize=8];\n",
    );
    body(&mut out, g, "", 1);
    out.push_str("}\n");
    out
}

/// Text within a quoted label: quotes and backslashes escaped, control characters as blanks.
fn escape(s: &str) -> String {
    let mut out = String::with_capacity(s.len());
    for c in s.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// Where an edge of a value starts: its node, or the box of an input, capture or constant.
fn source(g: &Graph, prefix: &str, v: ValueId) -> String {
    let value = g.value(v);
    let name = match value.def {
        Def::Node(n, _) => title(g, g.node(n)),
        _ => value.name.to_string(),
    };
    format!("\"{}\"", escape(&format!("{prefix}{name}")))
}

/// The name of a node in the output: that of its first result, or of its operator where it has none.
fn title(g: &Graph, n: &Node) -> String {
    n.outputs()
        .iter()
        .flatten()
        .next()
        .map_or_else(|| format!("{} {}", n.op, position(g, n)), |v| g.value(*v).name.to_string())
}

/// The place of a node without results among the nodes.
fn position(g: &Graph, n: &Node) -> usize {
    g.order().iter().position(|id| std::ptr::eq(g.node(*id), n)).unwrap_or(0)
}

fn body(out: &mut String, g: &Graph, prefix: &str, depth: usize) {
    let indent = "  ".repeat(depth);
    let nodes = crate::text::nodes(g);
    let reads = || nodes.iter().flat_map(|n| g.node(*n).reads()).chain(g.outputs().iter().copied());
    let mut seen = std::collections::HashSet::new();
    let boxes = g.inputs().iter().copied().chain(reads().filter(|v| g.producer(*v).is_none()));
    for v in boxes.filter(|v| seen.insert(*v)) {
        let (value, id) = (g.value(v), source(g, prefix, v));
        let style = match value.def {
            Def::Const(_) => "shape=note, color=gray",
            Def::Capture => "shape=ellipse, style=dashed",
            _ => "shape=ellipse",
        };
        let label = escape(&format!("{}: {}", value.name, value.ty));
        let _ = writeln!(out, "{indent}{id} [label=\"{label}\", {style}];");
    }
    for n in nodes.iter().map(|n| g.node(*n)) {
        let id = format!("\"{}\"", escape(&format!("{prefix}{}", title(g, n))));
        let mut label = escape(&n.op.to_string());
        for v in n.outputs().iter().flatten() {
            let value = g.value(*v);
            let _ = write!(label, "\\n{}", escape(&format!("{}: {}", value.name, value.ty)));
        }
        if let Some(e) = n.epilogue() {
            let _ = write!(label, "\\nepilogue {}", escape(&e.expr.to_string()));
        }
        let _ = writeln!(out, "{indent}{id} [label=\"{label}\"];");
        for (i, v) in n.inputs().iter().enumerate() {
            let Some(v) = v else { continue };
            let _ = writeln!(out, "{indent}{} -> {id} [label=\"{i}\"];", source(g, prefix, *v));
        }
        for v in n.epilogue().iter().flat_map(|e| &e.sides) {
            let _ = writeln!(out, "{indent}{} -> {id} [label=\"epilogue\"];", source(g, prefix, *v));
        }
        for s in &n.subgraphs {
            let inside = format!("{prefix}{}/{}/", title(g, n), s.name);
            let _ = writeln!(out, "{indent}subgraph \"cluster {}\" {{", escape(&inside));
            let _ = writeln!(out, "{indent}  label=\"{}\";", escape(&s.name));
            body(out, &s.graph, &inside, depth + 1);
            for v in s.graph.outputs() {
                let _ = writeln!(out, "{indent}  {} -> {id};", source(&s.graph, &inside, *v));
            }
            let _ = writeln!(out, "{indent}}}");
            for c in &s.captures {
                let (from, to) = (source(g, prefix, c.outer), source(&s.graph, &inside, c.inner));
                let _ = writeln!(out, "{indent}{from} -> {to} [style=dashed];");
            }
        }
    }
    if depth == 1 {
        for (i, v) in g.outputs().iter().enumerate() {
            let _ = writeln!(out, "{indent}\"out {i}\" [shape=ellipse, label=\"{}\"];", escape(&g.value(*v).name));
            let _ = writeln!(out, "{indent}{} -> \"out {i}\";", source(g, prefix, *v));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::parse;

    #[test]
    fn nodes_edges_and_clusters_are_there() {
        let g = parse(
            r#"graph @"a \"quoted\" name" (format 1) {
                in %x: f32[N]
                const %c: f32[] = 1.0
                %y: f32[N] = Add(%x, %c) epilogue (f32, f32) mul(a0, a1) with (%x)
                %"z\n\\": f32[N] = If(%x) subgraph then_branch @t { capture %y: f32[N] = %y out %y }
                do Sink(%y)
                out %"z\n\\"
            }"#,
        )
        .unwrap();
        let expected = r#"digraph "a \"quoted\" name" {
  node [shape=box, fontname="monospace", fontsize=10];
  edge [fontname="monospace", fontsize=8];
  "x" [label="x: f32[N]", shape=ellipse];
  "c" [label="c: f32[]", shape=note, color=gray];
  "y" [label="Add\ny: f32[N]\nepilogue (f32, f32) mul(a0, a1)"];
  "x" -> "y" [label="0"];
  "c" -> "y" [label="1"];
  "x" -> "y" [label="epilogue"];
  "z \\" [label="If\nz \\: f32[N]"];
  "x" -> "z \\" [label="0"];
  subgraph "cluster z \\/then_branch/" {
    label="then_branch";
    "z \\/then_branch/y" [label="y: f32[N]", shape=ellipse, style=dashed];
    "z \\/then_branch/y" -> "z \\";
  }
  "y" -> "z \\/then_branch/y" [style=dashed];
  "Sink 2" [label="Sink"];
  "y" -> "Sink 2" [label="0"];
  "out 0" [shape=ellipse, label="z \\"];
  "z \\" -> "out 0";
}
"#;
        assert_eq!(dot(&g), expected);
    }
}
