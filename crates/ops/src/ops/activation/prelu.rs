//! PRelu: x, or slope x below zero; the slope broadcasts to x.

use crate::elementwise::{infer_same, lower_map};
use crate::{OpDef, OpError, Param, TypeSet, Upgrade, UpgradeCx, numeric2, operand, schema};
use planc_ir::{NodeBuilder, OpName, TensorType};
use planc_kir::BinOp;
use planc_tensor::{Tensor, broadcast};

/// The row of PRelu.
pub const OP: OpDef = OpDef {
    name: "PRelu",
    types: &[("T", TypeSet::NUMERIC)],
    inputs: &[Param::req("X", "T"), Param::req("slope", "T")],
    upgrades: &[schema::DROP_CONSUMED_INPUTS, Upgrade { to: 7, step: legacy_slope }],
    infer: |cx| {
        if let (Some(x), Some(slope)) = (cx.shape(0)?, cx.shape(1)?) {
            let together = crate::elementwise::broadcast_dims(x, slope)?;
            if together.len() != x.len() {
                return Err(OpError::shape("the slope has more axes than x"));
            }
        }
        infer_same(cx)
    },
    eval: Some(|cx, inputs| {
        let (x, slope) = (operand(inputs, 0)?, operand(inputs, 1)?);
        if broadcast(x.shape(), slope.shape()).as_deref() != Some(x.shape()) {
            return Err(OpError::shape(format!(
                "a slope of {:?} does not broadcast to {:?}",
                slope.shape(),
                x.shape()
            )));
        }
        numeric2!(cx, inputs, |x, y| int {
            let zero = Default::default();
            if x < zero { x.wrapping_mul(y) } else { x }
        }, float if x < 0.0 { x * y } else { x })
    }),
    lower: |cx| {
        lower_map(cx, |b, x| {
            let [x, slope] = *x else { return None };
            let scaled = b.binary(BinOp::Mul, x, slope);
            let below = b.binary_const(BinOp::Lt, x, 0.0);
            Some(b.select(below, scaled, x))
        })
    },
    ..schema::UNARY
};

/// Before opset 7 the slope was one number or one per channel, which is axis 1.
fn legacy_slope(cx: &mut UpgradeCx<'_>) -> Result<(), OpError> {
    let ty = |i: usize| cx.inputs.get(i).copied().flatten().and_then(|v| cx.graph.tensor_type(v));
    let (Some(x), Some(slope)) = (ty(0), ty(1)) else { return Ok(()) };
    let dtype = slope.dtype;
    if slope.rank() != Some(1) || slope.static_shape().is_some_and(|s| s == [1]) {
        return Ok(());
    }
    let rank = x.rank().ok_or_else(|| OpError::unsupported("an old slope for an unknown rank"))?;
    if rank <= 2 {
        return Ok(());
    }
    let Some(slope) = cx.inputs[1] else { return Ok(()) };
    let axes: Vec<i64> = (1..rank as i64 - 1).collect();
    let axes = cx.graph.add_const(&format!("{}.axes", cx.name), Tensor::vector(axes));
    let node = NodeBuilder::new(OpName::onnx("Unsqueeze")).inputs([slope, axes]);
    cx.inputs[1] = Some(cx.add_op("aligned", node, TensorType::unranked(dtype)));
    Ok(())
}
