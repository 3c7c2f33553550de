//! com.microsoft.QLinearWhere: Where of operands that are quantised each in its own way, with a quantised result.

use crate::elementwise::broadcast_dims;
use crate::rebuild::Rebuild;
use crate::{OpDef, Param, TypeSet};
use planc_ir::{Graph, NodeId, ValueId};
use planc_tensor::Dim;

/// The row of QLinearWhere, whose nodes become requantisations and Where.
pub const OP: OpDef = OpDef {
    name: "QLinearWhere",
    domain: "com.microsoft",
    types: &[("B", TypeSet::BOOL), ("T", TypeSet::BYTE), ("TF", TypeSet::F32)],
    inputs: &[
        Param::req("condition", "B"),
        Param::req("X", "T"),
        Param::req("x_scale", "TF"),
        Param::req("x_zero_point", "T"),
        Param::req("Y", "T"),
        Param::req("y_scale", "TF"),
        Param::req("y_zero_point", "T"),
        Param::req("z_scale", "TF"),
        Param::req("z_zero_point", "T"),
    ],
    outputs: &[Param::req("Z", "T")],
    infer: |cx| {
        let dtype = cx.dtype(1)?;
        let mut shape: Option<Vec<Dim>> = Some(vec![]);
        for i in [0, 1, 4] {
            shape = match (shape, cx.shape(i)?) {
                (Some(a), Some(b)) => Some(broadcast_dims(&a, b)?),
                _ => None,
            };
        }
        cx.set_shape(0, dtype, shape);
        Ok(())
    },
    decompose: Some(decompose),
    ..OpDef::NEW
};

fn decompose(graph: &mut Graph, id: NodeId) -> Result<Vec<Option<ValueId>>, String> {
    let mut r = Rebuild::new(graph, id);
    let (scale, zero) = (r.operand(7)?, r.operand(8)?);
    let dtype = r.dtype(zero);
    let [x, y] = [1, 4].map(|i| {
        let real = r.real(r.operand(i)?, r.operand(i + 1)?, r.node.input(i + 2), "real")?;
        r.codes(real, scale, Some(zero), dtype)
    });
    Ok(vec![Some(r.op("Where", &[r.operand(0)?, x?, y?], &[], "chosen")?)])
}
