//! OptionalHasElement: whether an optional holds something. Anything else does, an omitted operand does not.

use crate::{OpDef, Param, TypeSet};
use planc_ir::{Graph, NodeBuilder, NodeId, OpName, TensorType, Type, ValueId};
use planc_tensor::{DType, Tensor};

/// The row of OptionalHasElement, whose nodes become `planc::HasElement` or a constant.
pub const OP: OpDef = OpDef {
    name: "OptionalHasElement",
    since: 15,
    types: &[("O", TypeSet::ALL), ("B", TypeSet::BOOL)],
    inputs: &[Param::opt("input", "O")],
    outputs: &[Param::req("output", "B")],
    infer: |cx| {
        cx.set_tensor(0, DType::Bool, vec![]);
        Ok(())
    },
    decompose: Some(decompose),
    ..OpDef::NEW
};

fn decompose(graph: &mut Graph, id: NodeId) -> Result<Vec<Option<ValueId>>, String> {
    let node = graph.node(id).clone();
    let out = node.output(0).ok_or("the result is not asked for")?;
    let name = graph.value(out).name.to_string();
    let (op, x) = match node.input(0) {
        Some(x) if matches!(graph.value(x).ty, Type::Optional(_)) => (OpName::new("planc", "HasElement"), x),
        x => {
            let known = graph.add_const(&format!("{name}.known"), Tensor::scalar(x.is_some()));
            (OpName::onnx("Identity"), known)
        }
    };
    let ty = TensorType::new(DType::Bool, vec![]);
    let builder = NodeBuilder::new(op).inputs([x]).like(&node);
    Ok(vec![Some(graph.add_op(builder, &format!("{name}.has"), ty))])
}
