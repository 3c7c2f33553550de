//! com.microsoft.FusedGemm: an activation of a Gemm.

use crate::ops::nn::gemm;
use crate::rebuild::Rebuild;
use crate::{AttrDef, OpDef, TypeSet};
use planc_ir::{Graph, NodeId, ValueId};
use planc_tensor::Attr;

/// The row of FusedGemm, whose nodes become Gemm and the activation.
pub const OP: OpDef = OpDef {
    name: "FusedGemm",
    domain: "com.microsoft",
    types: &[("T", TypeSet::FLOAT)],
    attrs: &[
        AttrDef::str("activation", ""),
        AttrDef::float("activation_alpha", 0.0),
        AttrDef::float("activation_beta", 0.0),
        AttrDef::float("activation_gamma", 0.0),
        gemm::OP.attrs[0],
        gemm::OP.attrs[1],
        gemm::OP.attrs[2],
        gemm::OP.attrs[3],
    ],
    upgrades: &[],
    eval: None,
    lower: |_| crate::Lowered::Reference,
    decompose: Some(decompose),
    ..gemm::OP
};

fn decompose(graph: &mut Graph, id: NodeId) -> Result<Vec<Option<ValueId>>, String> {
    let mut r = Rebuild::new(graph, id);
    let attrs = r.node.attrs.clone();
    let kept: Vec<(&str, Attr)> =
        attrs.iter().filter(|(n, _)| !n.starts_with("activation")).map(|(n, a)| (n, a.clone())).collect();
    let operands = r.node.inputs().to_vec();
    let y = r.node("Gemm", &operands, &kept, ("sums", 1))?[0];
    let param = |name: &str| attrs.float(&format!("activation_{name}")).map(Attr::Float);
    let given = |names: &[&'static str]| -> Vec<(&'static str, Attr)> {
        names.iter().filter_map(|n| Some((*n, param(n)?))).collect()
    };
    let name = attrs.str("activation").unwrap_or_default();
    let params = match name {
        "" => return Ok(vec![Some(y)]),
        "Relu" | "Tanh" | "Sigmoid" | "Softplus" | "Softsign" => vec![],
        "LeakyRelu" | "Elu" | "Celu" | "ThresholdedRelu" => given(&["alpha"]),
        "HardSigmoid" => given(&["alpha", "beta"]),
        "Selu" => given(&["alpha", "gamma"]),
        other => return Err(format!("activation {other:?}")),
    };
    Ok(vec![Some(r.op(name, &[y], &params, "activated")?)])
}
