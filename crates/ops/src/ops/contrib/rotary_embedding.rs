//! com.microsoft.RotaryEmbedding: rotates pairs of each head's elements by angles that depend on the position.

use super::heads::{merge, positions, rotate, split};
use crate::elementwise::infer_same;
use crate::rebuild::Rebuild;
use crate::{AttrDef, InferCx, OpDef, OpError, Param, TypeSet};
use planc_ir::{Graph, NodeId, ValueId};
use planc_tensor::{DType, Dim};

/// The row of RotaryEmbedding, whose nodes become gathers, products and sums.
pub const OP: OpDef = OpDef {
    name: "RotaryEmbedding",
    domain: "com.microsoft",
    types: &[("T", TypeSet::of(&[DType::F32, DType::F16, DType::BF16])), ("M", TypeSet::I64)],
    inputs: &[
        Param::req("input", "T"),
        Param::req("position_ids", "M"),
        Param::req("cos_cache", "T"),
        Param::req("sin_cache", "T"),
    ],
    outputs: &[Param::req("output", "T")],
    attrs: &[
        AttrDef::int("interleaved", 0),
        AttrDef::int("is_packed_batching", 0),
        AttrDef::int("num_heads", 0),
        AttrDef::int("rotary_embedding_dim", 0),
        AttrDef::float("scale", 1.0),
    ],
    infer: |cx: &mut InferCx<'_>| {
        if cx.float("scale") != 1.0 {
            return Err(OpError::unsupported("a scale of positions; export the model with scaled tables"));
        }
        if cx.int("rotary_embedding_dim") > 0 && cx.int("num_heads") < 1 {
            return Err(OpError::attribute("num_heads is missing beside rotary_embedding_dim"));
        }
        match cx.shape(0)? {
            Some(s) if s.len() != 3 && s.len() != 4 => Err(OpError::shape(format!("rank {} is not 3 or 4", s.len()))),
            _ => infer_same(cx),
        }
    },
    decompose: Some(decompose),
    ..OpDef::NEW
};

fn decompose(graph: &mut Graph, id: NodeId) -> Result<Vec<Option<ValueId>>, String> {
    let mut r = Rebuild::new(graph, id);
    let r = &mut r;
    let (x, at, cos, sin) = (r.operand(0)?, r.operand(1)?, r.operand(2)?, r.operand(3)?);
    let dims = r.dims(x)?;
    let apart = dims.len() == 4;
    let x = if apart {
        x
    } else {
        let heads = match r.node.attrs.int("num_heads").unwrap_or(0) {
            // The tables rotate whole heads.
            0 => {
                let half = r.dims(cos)?.last().and_then(Dim::as_const).filter(|h| *h > 0);
                let half = half.ok_or("the width of the rotary tables is not known")?;
                dims[2].as_const().ok_or("the hidden size is not known")? / (2 * half)
            }
            heads => heads,
        };
        split(r, x, heads, "heads")?
    };
    // One position is that of the first element.
    let at = if r.dims(at)?.len() == 1 {
        let length = r.extent(x, 2, "length")?;
        let steps = positions(r, length, "step")?;
        let places = r.op("Add", &[steps, at], &[], "places")?;
        r.unsqueeze(places, &[0], "place")?
    } else {
        at
    };
    let interleaved = r.node.attrs.int("interleaved").unwrap_or(0) != 0;
    let y = rotate(r, x, (cos, sin), at, interleaved, "rotated")?;
    Ok(vec![Some(if apart { y } else { merge(r, y)? })])
}
