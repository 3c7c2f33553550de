//! com.microsoft.DynamicQuantizeMatMul: a product with a quantised matrix, of data that is rounded to 8 bits first.

use crate::product::infer;
use crate::rebuild::Rebuild;
use crate::{OpDef, Param, TypeSet};
use planc_ir::{Graph, NodeId, ValueId};
use planc_tensor::{Attr, DType};

/// The row of DynamicQuantizeMatMul, whose nodes become DynamicQuantizeLinear, MatMulInteger and scaling.
pub const OP: OpDef = OpDef {
    name: "DynamicQuantizeMatMul",
    domain: "com.microsoft",
    types: &[("T1", TypeSet::F32), ("T2", TypeSet::BYTE)],
    inputs: &[
        Param::req("A", "T1"),
        Param::req("B", "T2"),
        Param::req("b_scale", "T1"),
        Param::opt("b_zero_point", "T2"),
        Param::opt("bias", "T1"),
    ],
    outputs: &[Param::req("Y", "T1")],
    infer: |cx| {
        let dtype = cx.dtype(0)?;
        infer(cx, dtype, 0, 1)
    },
    decompose: Some(decompose),
    ..OpDef::NEW
};

fn decompose(graph: &mut Graph, id: NodeId) -> Result<Vec<Option<ValueId>>, String> {
    let mut r = Rebuild::new(graph, id);
    let (a, b, b_scale) = (r.operand(0)?, r.operand(1)?, r.operand(2)?);
    let quantised = r.node("DynamicQuantizeLinear", &[Some(a)], &[], ("quantised", 3))?;
    let [q, scale, zero] = quantised[..] else { return Err("a result is missing".into()) };
    let sums = r.node("MatMulInteger", &[Some(q), Some(b), Some(zero), r.node.input(3)], &[], ("sums", 1))?[0];
    let sums = r.op("Cast", &[sums], &[("to", Attr::Int(i64::from(DType::F32.onnx())))], "real")?;
    let scale = r.op("Mul", &[scale, b_scale], &[], "scale")?;
    let y = r.op("Mul", &[sums, scale], &[], "scaled")?;
    let y = match r.node.input(4) {
        Some(bias) => r.op("Add", &[y, bias], &[], "biased")?,
        None => y,
    };
    Ok(vec![Some(y)])
}
