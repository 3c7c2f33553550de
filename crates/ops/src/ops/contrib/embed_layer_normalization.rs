//! com.microsoft.EmbedLayerNormalization: the sum of word, position and segment embeddings, normalised; and how many
//! positions of each sequence a mask keeps.

use crate::rebuild::Rebuild;
use crate::{AttrDef, InferCx, OpDef, OpError, Param, TypeSet};
use planc_ir::{Graph, NodeId, ValueId};
use planc_tensor::{Attr, DType, Dim, Tensor};

/// The row of EmbedLayerNormalization, whose nodes become gathers, sums and LayerNormalization.
pub const OP: OpDef = OpDef {
    name: "EmbedLayerNormalization",
    domain: "com.microsoft",
    types: &[("T1", TypeSet::of(&[DType::I32])), ("T", TypeSet::of(&[DType::F32, DType::F16]))],
    inputs: &[
        Param::req("input_ids", "T1"),
        Param::opt("segment_ids", "T1"),
        Param::req("word_embedding", "T"),
        Param::req("position_embedding", "T"),
        Param::opt("segment_embedding", "T"),
        Param::req("gamma", "T"),
        Param::req("beta", "T"),
        Param::opt("mask", "T1"),
        Param::opt("position_ids", "T1"),
    ],
    outputs: &[Param::req("output", "T"), Param::opt("mask_index", "T1"), Param::opt("embedding_sum", "T")],
    attrs: &[AttrDef::float("epsilon", 1e-12), AttrDef::int("mask_index_type", 1)],
    infer,
    decompose: Some(decompose),
    ..OpDef::NEW
};

fn infer(cx: &mut InferCx<'_>) -> Result<(), OpError> {
    let dtype = cx.dtype(2)?;
    let ids = cx.shape(0)?.map(<[Dim]>::to_vec);
    if ids.as_ref().is_some_and(|s| s.len() != 2) || cx.shape(2)?.is_some_and(|s| s.len() != 2) {
        return Err(OpError::shape("ids or embeddings are not of rank 2"));
    }
    let width = cx.shape(2)?.map_or_else(|| cx.fresh(0, 2), |s| s[1].clone());
    let batch = ids.as_ref().map_or_else(|| cx.fresh(0, 0), |s| s[0].clone());
    let length = ids.as_ref().map_or_else(|| cx.fresh(0, 1), |s| s[1].clone());
    let shape = vec![batch.clone(), length, width];
    cx.set_tensor(0, dtype, shape.clone());
    cx.set_tensor(1, DType::I32, vec![batch]);
    cx.set_tensor(2, dtype, shape);
    Ok(())
}

fn decompose(graph: &mut Graph, id: NodeId) -> Result<Vec<Option<ValueId>>, String> {
    let mut r = Rebuild::new(graph, id);
    let ids = r.operand(0)?;
    let words = r.op("Gather", &[r.operand(2)?, ids], &[], "words")?;
    let places = match r.node.input(8) {
        Some(at) => r.op("Gather", &[r.operand(3)?, at], &[], "places")?,
        None => {
            // The first positions, as many as there are words.
            let length = [("start", Attr::Int(1)), ("end", Attr::Int(2))];
            let length = r.op("Shape", &[ids], &length, "length")?;
            let zero = r.constant("zero", Tensor::vector(vec![0i64]));
            r.op("Slice", &[r.operand(3)?, zero, length], &[], "places")?
        }
    };
    let mut sum = r.op("Add", &[words, places], &[], "placed")?;
    if let (Some(ids), Some(table)) = (r.node.input(1), r.node.input(4)) {
        let segments = r.op("Gather", &[table, ids], &[], "segments")?;
        sum = r.op("Add", &[sum, segments], &[], "embedded")?;
    }
    let epsilon = r.node.attrs.float("epsilon").unwrap_or(1e-12);
    let attrs = [("axis", Attr::Int(-1)), ("epsilon", Attr::Float(epsilon))];
    let y = r.op("LayerNormalization", &[sum, r.operand(5)?, r.operand(6)?], &attrs, "normalised")?;
    let counts = match (r.node.output(1), r.node.input(7)) {
        (None, _) => None,
        (Some(_), Some(mask)) => {
            let one = r.constant("one", Tensor::scalar(1i32));
            let kept = r.op("Equal", &[mask, one], &[], "kept")?;
            let kept = r.cast(kept, DType::I32, "ones")?;
            let axis = r.ints("axis", &[1]);
            Some(r.op("ReduceSum", &[kept, axis], &[("keepdims", Attr::Int(0))], "counts")?)
        }
        (Some(_), None) => {
            let batch = r.op("Shape", &[ids], &[("end", Attr::Int(1))], "batch")?;
            let value = ("value", Attr::Tensor(Tensor::vector(vec![0i32])));
            Some(r.op("ConstantOfShape", &[batch], &[value], "counts")?)
        }
    };
    let sums = r.node.output(2).map(|_| sum);
    let results = [Some(y), counts, sums];
    Ok(results[..r.node.outputs().len()].to_vec())
}
