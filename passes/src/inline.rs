//! Moving the nodes of a subgraph into the graph around it.

use planc_ir::{Def, Epilogue, Graph, NodeBuilder, NodeId, Subgraph, ValueId};
use std::collections::HashMap;

/// Adds the nodes of subgraph `s` to `g`, at the place of node `at`; the values that are the subgraph's outputs. `None`,
/// and nothing useful done, for a subgraph with inputs or one that reads what it does not define.
pub(crate) fn inline(g: &mut Graph, at: NodeId, s: &Subgraph) -> Option<Vec<ValueId>> {
    let inner = &s.graph;
    if !inner.inputs().is_empty() {
        return None;
    }
    let mut map: HashMap<ValueId, ValueId> = s.captures.iter().map(|c| (c.inner, c.outer)).collect();
    let order = inner.order();
    let reads = order.iter().flat_map(|id| inner.node(*id).reads()).chain(inner.outputs().iter().copied());
    for v in reads {
        if let Def::Const(t) = &inner.value(v).def
            && !map.contains_key(&v)
        {
            map.insert(v, g.add_const(&inner.value(v).name, t.clone()));
        }
    }
    for id in order {
        let n = inner.node(id);
        let to = |v: ValueId| map.get(&v).copied();
        let inputs = n.inputs().iter().map(|v| v.map(to)).map(|v| v.map_or(Some(None), |v| v.map(Some)));
        let inputs: Option<Vec<Option<ValueId>>> = inputs.collect();
        let epilogue = match n.epilogue() {
            Some(e) => {
                Some(Epilogue { expr: e.expr.clone(), sides: e.sides.iter().map(|v| to(*v)).collect::<Option<_>>()? })
            }
            None => None,
        };
        let mut subgraphs = n.subgraphs.clone();
        for c in subgraphs.iter_mut().flat_map(|s| &mut s.captures) {
            c.outer = to(c.outer)?;
        }
        let place = g.node(at).clone();
        let b = NodeBuilder::new(n.op.clone()).like(&place).origin(n.origin.clone()).attrs(n.attrs.clone());
        let b = b.optional_inputs(inputs?).subgraphs(subgraphs).epilogue(epilogue);
        let of = |v: ValueId| (inner.value(v).name.to_string(), inner.value(v).ty.clone());
        let made = g.add_node(b, n.outputs().iter().map(|v| v.map(of)).collect());
        for (a, b) in n.outputs().iter().zip(g.node(made).outputs()) {
            if let (Some(a), Some(b)) = (a, b) {
                map.insert(*a, *b);
            }
        }
    }
    inner.outputs().iter().map(|v| map.get(v).copied()).collect()
}
