//! OptionalGetElement: what an optional holds. Of anything else, itself.

use crate::sequences::element;
use crate::{OpDef, Param, TypeSet};
use planc_ir::{Graph, NodeBuilder, NodeId, OpName, Type, ValueId};

/// The row of OptionalGetElement, whose nodes become `planc::GetElement` or `Identity`.
pub const OP: OpDef = OpDef {
    name: "OptionalGetElement",
    since: 15,
    types: &[("O", TypeSet::ALL), ("V", TypeSet::ALL)],
    inputs: &[Param::req("input", "O")],
    outputs: &[Param::req("output", "V")],
    infer: |cx| {
        let ty = match cx.ty(0)? {
            Type::Optional(t) => element(cx, 0, t),
            other => other.clone(),
        };
        cx.set(0, ty);
        Ok(())
    },
    decompose: Some(decompose),
    ..OpDef::NEW
};

fn decompose(graph: &mut Graph, id: NodeId) -> Result<Vec<Option<ValueId>>, String> {
    let node = graph.node(id).clone();
    let (Some(x), Some(out)) = (node.input(0), node.output(0)) else { return Err("an operand is missing".into()) };
    let op = match graph.value(x).ty {
        Type::Optional(_) => OpName::new("planc", "GetElement"),
        _ => OpName::onnx("Identity"),
    };
    let (name, ty) = (format!("{}.element", graph.value(out).name), graph.value(out).ty.clone());
    Ok(vec![Some(graph.add_op(NodeBuilder::new(op).inputs([x]).like(&node), &name, ty))])
}
