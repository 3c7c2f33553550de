//! com.microsoft.NhwcConv and NhwcFusedConv: Conv and FusedConv of data whose channels are last. The weights are as those of
//! Conv.

use super::channels_last::{infer, to_first, to_last};
use super::fused_conv;
use crate::ops::nn::conv;
use crate::rebuild::Rebuild;
use crate::{OpDef, TypeSet};
use planc_ir::{Graph, NodeId, OpName, ValueId};
use planc_tensor::{Attr, DType};

/// The row of NhwcConv, whose nodes become Conv between transpositions.
pub const CONV: OpDef = OpDef {
    name: "NhwcConv",
    domain: "com.microsoft",
    types: &[("T", TypeSet::of(&[DType::F32, DType::F16, DType::F64]))],
    infer: |cx| infer(cx, &conv::OP, &[0]),
    eval: None,
    lower: |_| crate::Lowered::Reference,
    decompose: Some(|g, id| decompose(g, id, &OpName::onnx("Conv"))),
    ..conv::OP
};

/// The row of NhwcFusedConv.
pub const FUSED: OpDef = OpDef {
    name: "NhwcFusedConv",
    types: &[("T", TypeSet::of(&[DType::F32, DType::F16]))],
    infer: |cx| infer(cx, &fused_conv::OP, &[0]),
    eval: None,
    decompose: Some(|g, id| decompose(g, id, &OpName::new("com.microsoft", "FusedConv"))),
    ..fused_conv::OP
};

fn decompose(graph: &mut Graph, id: NodeId, op: &OpName) -> Result<Vec<Option<ValueId>>, String> {
    let mut r = Rebuild::new(graph, id);
    let attrs = r.node.attrs.clone();
    let attrs: Vec<(&str, Attr)> = attrs.iter().map(|(n, a)| (n, a.clone())).collect();
    let mut operands = r.node.inputs().to_vec();
    for i in [0, 3] {
        if let Some(Some(x)) = operands.get(i).copied() {
            operands[i] = Some(to_first(&mut r, x, "first")?);
        }
    }
    let y = r.named(op.clone(), &operands, &attrs, ("sums", 1))?[0];
    Ok(vec![Some(to_last(&mut r, y, "last")?)])
}
