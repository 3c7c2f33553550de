//! com.microsoft.MultiHeadAttention: attention over operands that hold heads side by side, with a bias of the three
//! projections. Without packed operands, key padding masks and caches of its own.

use crate::rebuild::Rebuild;
use crate::{AttrDef, AttrKind, InferCx, OpDef, OpError, Param, TypeSet};
use planc_ir::{Graph, NodeId, ValueId};
use planc_tensor::{Attr, DType, Dim, Tensor};

/// The row of MultiHeadAttention, whose nodes become Attention.
pub const OP: OpDef = OpDef {
    name: "MultiHeadAttention",
    domain: "com.microsoft",
    types: &[("T", TypeSet::of(&[DType::F32, DType::F16])), ("M", TypeSet::of(&[DType::I32]))],
    inputs: &[
        Param::req("query", "T"),
        Param::opt("key", "T"),
        Param::opt("value", "T"),
        Param::opt("bias", "T"),
        Param::opt("key_padding_mask", "M"),
        Param::opt("attention_bias", "T"),
        Param::opt("past_key", "T"),
        Param::opt("past_value", "T"),
    ],
    outputs: &[Param::req("output", "T")],
    attrs: &[
        AttrDef::float("mask_filter_value", -10000.0),
        AttrDef::required("num_heads", AttrKind::Int),
        AttrDef::float("scale", 0.0),
        AttrDef::int("unidirectional", 0),
    ],
    infer,
    decompose: Some(decompose),
    ..OpDef::NEW
};

fn infer(cx: &mut InferCx<'_>) -> Result<(), OpError> {
    if !cx.has(1) || !cx.has(2) || cx.has(4) || cx.has(6) || cx.has(7) {
        return Err(OpError::unsupported("packed operands, key_padding_mask and past keys of MultiHeadAttention"));
    }
    let rank = |i: usize| match cx.shape(i)? {
        Some(s) if s.len() == 3 => Ok(s.to_vec()),
        Some(s) => Err(OpError::unsupported(format!("operand {i} of rank {}", s.len()))),
        None => Err(OpError::unsupported(format!("operand {i} of unknown rank"))),
    };
    let (q, _, v) = (rank(0)?, rank(1)?, rank(2)?);
    let dtype = cx.dtype(0)?;
    cx.set_tensor(0, dtype, vec![q[0].clone(), q[1].clone(), v[2].clone()]);
    Ok(())
}

fn decompose(graph: &mut Graph, id: NodeId) -> Result<Vec<Option<ValueId>>, String> {
    let mut r = Rebuild::new(graph, id);
    let mut operands = [r.operand(0)?, r.operand(1)?, r.operand(2)?];
    if let Some(bias) = r.node.input(3) {
        let widths: Option<Vec<i64>> =
            operands.iter().map(|v| r.graph.tensor_type(*v)?.shape.as_ref()?.last().and_then(Dim::as_const)).collect();
        let widths = widths.ok_or("the hidden sizes are not known")?;
        let mut start = 0i64;
        for (i, (v, width)) in operands.iter_mut().zip(widths).enumerate() {
            let end = start.saturating_add(width);
            let bounds = [start, end].map(|b| r.constant(&format!("bias{i}.bound"), Tensor::vector(vec![b])));
            let part = r.op("Slice", &[bias, bounds[0], bounds[1]], &[], &format!("bias{i}"))?;
            *v = r.op("Add", &[*v, part], &[], &format!("projected{i}"))?;
            start = end;
        }
    }
    let heads = r.node.attrs.int("num_heads").unwrap_or(0);
    let mut attrs = vec![("q_num_heads", Attr::Int(heads)), ("kv_num_heads", Attr::Int(heads))];
    if let Some(scale) = r.node.attrs.float("scale").filter(|s| *s != 0.0) {
        attrs.push(("scale", Attr::Float(scale)));
    }
    if r.node.attrs.int("unidirectional").unwrap_or(0) != 0 {
        attrs.push(("is_causal", Attr::Int(1)));
    }
    let mut inputs: Vec<Option<ValueId>> = operands.into_iter().map(Some).collect();
    inputs.extend(r.node.input(5).map(Some));
    Ok(vec![Some(r.node("Attention", &inputs, &attrs, ("attended", 1))?[0])])
}
