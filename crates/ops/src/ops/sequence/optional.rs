//! Optional: a value that is there, or (without operand) one of a type that is not.

use crate::{AttrDef, AttrKind, OpDef, Param, TypeSet};
use planc_ir::{Graph, NodeBuilder, NodeId, OpName, Type, ValueId};

/// The row of Optional, whose nodes become `planc::MakeOptional`.
pub const OP: OpDef = OpDef {
    name: "Optional",
    since: 15,
    types: &[("V", TypeSet::ALL), ("O", TypeSet::ALL)],
    inputs: &[Param::opt("input", "V")],
    outputs: &[Param::req("output", "O")],
    attrs: &[AttrDef::optional("type", AttrKind::Str)],
    infer: |cx| {
        let inner = match cx.has(0) {
            true => cx.ty(0)?.clone(),
            false => crate::sequences::parse(cx.str("type"))?,
        };
        cx.set(0, Type::Optional(Box::new(inner)));
        Ok(())
    },
    decompose: Some(decompose),
    ..OpDef::NEW
};

fn decompose(graph: &mut Graph, id: NodeId) -> Result<Vec<Option<ValueId>>, String> {
    let node = graph.node(id).clone();
    let out = node.output(0).ok_or("the result is not asked for")?;
    let (name, ty) = (format!("{}.optional", graph.value(out).name), graph.value(out).ty.clone());
    let packed = node.input(0).is_some_and(|v| graph.tensor_type(v).is_none());
    let mut builder = NodeBuilder::new(OpName::new("planc", "MakeOptional")).inputs(node.input(0)).like(&node);
    if packed {
        builder = builder.attr("packed", 1i64);
    }
    if let Some(t) = node.attrs.str("type") {
        builder = builder.attr("type", t);
    }
    Ok(vec![Some(graph.add_op(builder, &name, ty))])
}
