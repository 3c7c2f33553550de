//! com.microsoft.QAttention: Attention whose projection is a product of quantised matrices.

use super::attention::{ATTRS, attend, infer};
use crate::rebuild::Rebuild;
use crate::{OpDef, Param, TypeSet};
use planc_ir::{Graph, NodeId, ValueId};
use planc_tensor::DType;

/// The row of QAttention, whose nodes become MatMulInteger, scaling and planc::Attention.
pub const OP: OpDef = OpDef {
    name: "QAttention",
    domain: "com.microsoft",
    types: &[
        ("T1", TypeSet::BYTE),
        ("T2", TypeSet::BYTE),
        ("T3", TypeSet::of(&[DType::F32, DType::F16])),
        ("T4", TypeSet::of(&[DType::I32])),
    ],
    inputs: &[
        Param::req("input", "T1"),
        Param::req("weight", "T2"),
        Param::req("bias", "T3"),
        Param::req("input_scale", "T3"),
        Param::req("weight_scale", "T3"),
        Param::opt("mask_index", "T4"),
        Param::opt("input_zero_point", "T1"),
        Param::opt("weight_zero_point", "T2"),
        Param::opt("past", "T3"),
    ],
    outputs: &[Param::req("output", "T3"), Param::opt("present", "T3")],
    attrs: &ATTRS,
    infer: |cx| infer(cx, 8),
    decompose: Some(decompose),
    ..OpDef::NEW
};

fn decompose(graph: &mut Graph, id: NodeId) -> Result<Vec<Option<ValueId>>, String> {
    let mut r = Rebuild::new(graph, id);
    let dtype = r.dtype(r.operand(2)?);
    let operands = [r.node.input(0), r.node.input(1), r.node.input(6), r.node.input(7)];
    let sums = r.node("MatMulInteger", &operands, &[], ("sums", 1))?[0];
    let real = r.cast(sums, DType::F32, "real")?;
    let [x_scale, w_scale] = [r.operand(3)?, r.operand(4)?].map(|s| r.cast(s, DType::F32, "single"));
    let scale = r.op("Mul", &[x_scale?, w_scale?], &[], "scale")?;
    let scaled = r.op("Mul", &[real, scale], &[], "scaled")?;
    let scaled = if dtype == DType::F32 { scaled } else { r.cast(scaled, dtype, "narrow")? };
    let all = r.op("Add", &[scaled, r.operand(2)?], &[], "biased")?;
    let (mask, past) = (r.node.input(5), r.node.input(8));
    attend(&mut r, all, mask, past, None)
}
