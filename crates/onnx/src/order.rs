//! Puts the nodes of a graph into topological order.
//!
//! ONNX demands that order, but models that break it exist and are unambiguous as long as they are acyclic.
//! Guarantees: nodes that are in order stay where they are; others move as little as a Kahn sort with ties by position
//! makes them; names captured by subgraphs count as reads.

use crate::model::{AttributeValue, GraphRecord, NodeRecord};
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};

/// Sorts `nodes`; whether anything moved.
///
/// # Errors
/// The positions of nodes that wait for each other in a circle, starting with the first of them.
pub(crate) fn sort(nodes: &mut Vec<NodeRecord>) -> Result<bool, Vec<usize>> {
    let mut definer: HashMap<&str, usize> = HashMap::new();
    for (i, node) in nodes.iter().enumerate() {
        for output in node.outputs.iter().filter(|o| !o.is_empty()) {
            definer.entry(output).or_insert(i);
        }
    }
    let waits: Vec<Vec<usize>> = nodes
        .iter()
        .map(|node| reads(node).into_iter().filter_map(|name| definer.get(name).copied()).collect())
        .collect();
    if waits.iter().enumerate().all(|(i, on)| on.iter().all(|d| *d < i)) {
        return Ok(false);
    }
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    let mut missing: Vec<usize> = waits.iter().map(Vec::len).collect();
    for (i, on) in waits.iter().enumerate() {
        on.iter().for_each(|d| readers[*d].push(i));
    }
    let mut ready: BinaryHeap<Reverse<usize>> =
        missing.iter().enumerate().filter(|(_, n)| **n == 0).map(|(i, _)| Reverse(i)).collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(Reverse(i)) = ready.pop() {
        order.push(i);
        for r in &readers[i] {
            missing[*r] -= 1;
            if missing[*r] == 0 {
                ready.push(Reverse(*r));
            }
        }
    }
    if order.len() < nodes.len() {
        return Err(circle(&waits, &missing));
    }
    let mut slots: Vec<Option<NodeRecord>> = std::mem::take(nodes).into_iter().map(Some).collect();
    nodes.extend(order.into_iter().filter_map(|i| slots[i].take()));
    Ok(true)
}

/// Walks backwards from a node that could not be placed until a node repeats.
fn circle(waits: &[Vec<usize>], missing: &[usize]) -> Vec<usize> {
    let mut seen: HashMap<usize, usize> = HashMap::new();
    let mut path = Vec::new();
    let mut next = missing.iter().position(|n| *n > 0);
    while let Some(at) = next {
        if let Some(start) = seen.insert(at, path.len()) {
            path.drain(..start);
            break;
        }
        path.push(at);
        next = waits[at].iter().copied().find(|d| missing[*d] > 0);
    }
    // In the direction of the data, from the first in the model's order.
    path.reverse();
    let first = path.iter().enumerate().min_by_key(|(_, i)| **i).map_or(0, |(at, _)| at);
    path.rotate_left(first);
    path
}

/// The names a node reads, its subgraphs' captures included.
fn reads(node: &NodeRecord) -> BTreeSet<&str> {
    let mut names: BTreeSet<&str> = node.inputs.iter().map(String::as_str).filter(|n| !n.is_empty()).collect();
    for graph in subgraphs(node) {
        names.append(&mut free_names(graph));
    }
    names
}

/// Graph-valued attributes of a node, in order.
pub(crate) fn subgraphs(node: &NodeRecord) -> impl Iterator<Item = &GraphRecord> {
    node.attributes.iter().flat_map(|a| match &a.value {
        AttributeValue::Graph(g) => std::slice::from_ref(&**g),
        AttributeValue::Graphs(graphs) => graphs.as_slice(),
        _ => &[],
    })
}

/// The names a subgraph takes from around it.
fn free_names(graph: &GraphRecord) -> BTreeSet<&str> {
    let mut names: BTreeSet<&str> = graph.nodes.iter().flat_map(reads).collect();
    names.extend(graph.outputs.iter().map(|o| o.name.as_str()));
    let sparse = graph.sparse_initializers.iter().filter_map(|s| s.values.as_ref());
    let own = graph.inputs.iter().map(|i| i.name.as_str());
    let own = own.chain(graph.initializers.iter().chain(sparse).map(|t| t.name.as_str()));
    let own = own.chain(graph.nodes.iter().flat_map(|n| n.outputs.iter().map(String::as_str)));
    for name in own {
        names.remove(name);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AttributeRecord, ValueRecord};

    fn node(name: &str, inputs: &[&str], outputs: &[&str]) -> NodeRecord {
        let list = |l: &[&str]| l.iter().map(|s| (*s).to_owned()).collect();
        NodeRecord { name: name.into(), inputs: list(inputs), outputs: list(outputs), ..NodeRecord::default() }
    }

    fn names(nodes: &[NodeRecord]) -> Vec<&str> {
        nodes.iter().map(|n| n.name.as_str()).collect()
    }

    #[test]
    fn sorted_nodes_stay() {
        let mut nodes = vec![node("a", &["x"], &["y"]), node("b", &["y", ""], &["z"]), node("c", &["y"], &["w"])];
        assert_eq!(sort(&mut nodes), Ok(false));
    }

    #[test]
    fn unsorted_nodes_are_sorted_with_ties_by_position() {
        let mut nodes = vec![node("c", &["z"], &["w"]), node("a", &["x"], &["y"]), node("b", &["y"], &["z"])];
        assert_eq!(sort(&mut nodes), Ok(true));
        assert_eq!(names(&nodes), ["a", "b", "c"]);
    }

    #[test]
    fn captures_are_reads() {
        let body = GraphRecord {
            nodes: vec![node("inner", &["y", "own"], &["r"])],
            inputs: vec![ValueRecord { name: "own".into(), ty: None }],
            outputs: vec![ValueRecord { name: "r".into(), ty: None }],
            ..GraphRecord::default()
        };
        let mut branch = node("if", &["c"], &["own"]);
        branch.attributes.push(AttributeRecord { value: AttributeValue::Graph(Box::new(body)), ..Default::default() });
        let mut nodes = vec![branch, node("a", &["x"], &["y"])];
        assert_eq!(sort(&mut nodes), Ok(true));
        assert_eq!(names(&nodes), ["a", "if"]);
    }

    #[test]
    fn circles_are_named() {
        let mut nodes = vec![
            node("after", &["q"], &["end"]),
            node("a", &["x", "r"], &["p"]),
            node("b", &["p"], &["q"]),
            node("c", &["q"], &["r"]),
        ];
        assert_eq!(sort(&mut nodes), Err(vec![1, 2, 3]));
        assert_eq!(sort(&mut vec![node("self", &["y"], &["y"])]), Err(vec![0]));
    }
}
