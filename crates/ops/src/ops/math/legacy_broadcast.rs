//! The broadcasting of opsets before 7: only where `broadcast = 1`, and operand 1 aligned at `axis`.

use crate::{AttrDef, AttrKind, OpError, Upgrade, UpgradeCx};
use planc_ir::{NodeBuilder, OpName, TensorType};
use planc_tensor::Tensor;

/// The attributes of old arithmetic; `consumed_inputs` (opset 1) has no meaning.
pub const ATTRS: [AttrDef; 3] = [
    AttrDef::int("broadcast", 0).until(7),
    AttrDef::optional("axis", AttrKind::Int).until(7),
    AttrDef::optional("consumed_inputs", AttrKind::Ints).until(6),
];

/// Turns `axis` into trailing axes of operand 1; what is left is today's broadcasting.
pub const UPGRADE: Upgrade = Upgrade { to: 7, step };

fn step(cx: &mut UpgradeCx<'_>) -> Result<(), OpError> {
    cx.attrs.take("consumed_inputs");
    cx.attrs.take("broadcast");
    let Some(axis) = cx.attrs.int("axis") else { return Ok(()) };
    cx.attrs.take("axis");
    let rank = |i: usize| {
        let ty = cx.inputs.get(i).copied().flatten().and_then(|v| cx.graph.tensor_type(v));
        ty.and_then(TensorType::rank).ok_or_else(|| OpError::unsupported("old broadcasting of an unknown rank"))
    };
    let (a, b) = (rank(0)? as i64, rank(1)? as i64);
    let axis = if axis < 0 { axis + a } else { axis };
    let trailing = a - axis - b;
    if axis < 0 || trailing < 0 {
        return Err(OpError::attribute(format!("axis {axis} does not align rank {b} within rank {a}")));
    }
    if trailing == 0 {
        return Ok(());
    }
    let Some(value) = cx.inputs[1] else { return Ok(()) };
    let dtype = cx.graph.tensor_type(value).map_or(planc_tensor::DType::F32, |t| t.dtype);
    let axes =
        cx.graph.add_const(&format!("{}.axes", cx.name), Tensor::vector((b..b + trailing).collect::<Vec<i64>>()));
    let node = NodeBuilder::new(OpName::onnx("Unsqueeze")).inputs([value, axes]);
    cx.inputs[1] = Some(cx.add_op("aligned", node, TensorType::unranked(dtype)));
    Ok(())
}
