//! com.microsoft.QLinearSoftmax: Softmax of a quantised operand, with a quantised result. Attribute `opset` says which
//! Softmax: before 13 it is one over all axes from `axis` on.

use super::qlinear_leaky_relu;
use crate::rebuild::Rebuild;
use crate::{AttrDef, AttrKind, OpDef, Param, TypeSet};
use planc_ir::{Graph, NodeId, ValueId};
use planc_tensor::Attr;

/// The row of QLinearSoftmax, whose nodes become DequantizeLinear, Softmax and QuantizeLinear.
pub const OP: OpDef = OpDef {
    name: "QLinearSoftmax",
    domain: "com.microsoft",
    types: &[("T", TypeSet::BYTE), ("S", TypeSet::F32)],
    inputs: &[
        Param::req("X", "T"),
        Param::req("X_scale", "S"),
        Param::opt("x_zero_point", "T"),
        Param::req("y_scale", "S"),
        Param::req("y_zero_point", "T"),
    ],
    outputs: &[Param::req("Y", "T")],
    attrs: &[AttrDef::int("axis", -1), AttrDef::required("opset", AttrKind::Int)],
    infer: |cx| {
        if let Some(shape) = cx.shape(0)? {
            cx.axis("axis", shape.len())?;
        }
        qlinear_leaky_relu::infer(cx)
    },
    decompose: Some(decompose),
    ..OpDef::NEW
};

fn decompose(graph: &mut Graph, id: NodeId) -> Result<Vec<Option<ValueId>>, String> {
    let mut r = Rebuild::new(graph, id);
    let (x, x_scale, y_scale) = (r.operand(0)?, r.operand(1)?, r.operand(3)?);
    let (x_zero, y_zero, dtype) = (r.node.input(2), r.node.input(4), r.dtype(x));
    let real = r.real(x, x_scale, x_zero, "real")?;
    let axis = r.node.attrs.int("axis").unwrap_or(-1);
    let flatten = r.node.attrs.int("opset").is_some_and(|v| v < 13);
    let attrs = [("axis", Attr::Int(axis)), ("flatten", Attr::Int(flatten.into()))];
    let y = r.op("Softmax", &[real], &attrs, "softmax")?;
    Ok(vec![Some(r.codes(y, y_scale, y_zero, dtype)?)])
}
