//! com.microsoft.Attention: self-attention with its projection: one product makes queries, keys and values.

use super::heads::{Attend, both, key_mask, merge, scale, split};
use crate::rebuild::Rebuild;
use crate::{AttrDef, AttrKind, InferCx, OpDef, OpError, Param, TypeSet};
use planc_ir::{Graph, NodeId, ValueId};
use planc_tensor::{DType, Dim};

/// The row of Attention, whose nodes become MatMul and planc::Attention.
pub const OP: OpDef = OpDef {
    name: "Attention",
    domain: "com.microsoft",
    types: &[("T", TypeSet::of(&[DType::F32, DType::F16, DType::BF16])), ("M", TypeSet::of(&[DType::I32]))],
    inputs: &[
        Param::req("input", "T"),
        Param::req("weights", "T"),
        Param::opt("bias", "T"),
        Param::opt("mask_index", "M"),
        Param::opt("past", "T"),
        Param::opt("attention_bias", "T"),
        Param::opt("past_sequence_length", "M"),
    ],
    outputs: &[Param::req("output", "T"), Param::opt("present", "T")],
    attrs: &[
        ATTRS[0],
        ATTRS[1],
        ATTRS[2],
        ATTRS[3],
        ATTRS[4],
        ATTRS[5],
        AttrDef::optional("qkv_hidden_sizes", AttrKind::Ints),
        AttrDef::int("rotary_embedding_dim", 0),
    ],
    infer: |cx| infer(cx, 4),
    decompose: Some(decompose),
    ..OpDef::NEW
};

/// The attributes of attention with a projection, quantised or not.
pub(super) const ATTRS: [AttrDef; 6] = [
    AttrDef::int("do_rotary", 0),
    AttrDef::float("mask_filter_value", -10000.0),
    AttrDef::required("num_heads", AttrKind::Int),
    AttrDef::int("past_present_share_buffer", 0),
    AttrDef::float("scale", 0.0),
    AttrDef::int("unidirectional", 0),
];

/// The hidden sizes of queries (and keys) and of values, of weights with `columns`.
fn sizes(given: Option<&[i64]>, columns: &Dim) -> Result<[Dim; 2], String> {
    match given {
        None | Some([]) => {
            let third = columns.exact_div(&Dim::from(3i64)).ok_or("the weights do not divide into three")?;
            Ok([third.clone(), third])
        }
        Some([q, k, v]) if q == k && *v > 0 && *q > 0 => Ok([Dim::from(*q), Dim::from(*v)]),
        Some(sizes) => Err(format!("qkv_hidden_sizes are {sizes:?}")),
    }
}

/// Inference of attention with a projection; operand `past` holds keys and values, if it is there.
///
/// # Errors
/// When shapes or attributes are wrong, or ask for what is not supported.
pub(super) fn infer(cx: &mut InferCx<'_>, past: usize) -> Result<(), OpError> {
    for name in ["do_rotary", "past_present_share_buffer"] {
        if cx.flag(name) {
            return Err(OpError::unsupported(format!("{name}; export the model without it")));
        }
    }
    let heads = cx.int("num_heads");
    if !(1..1 << 31).contains(&heads) {
        return Err(OpError::attribute(format!("num_heads is {heads}")));
    }
    let (Some([batch, length, _]), Some([_, columns])) = (cx.shape(0)?, cx.shape(1)?) else {
        return Err(OpError::shape("the input is not of rank 3 or the weights are not of rank 2"));
    };
    let [hidden, values] = sizes(cx.ints("qkv_hidden_sizes"), columns).map_err(OpError::shape)?;
    let old = match if cx.has(past) { cx.shape(past)? } else { Some(&[][..]) } {
        Some([]) => Dim::from(0i64),
        Some([_, _, _, old, _]) => old.clone(),
        Some(s) => return Err(OpError::shape(format!("the past has rank {}, not 5", s.len()))),
        None => cx.fresh(1, 3),
    };
    if cx.output_count() > 1 && hidden != values {
        return Err(OpError::unsupported("a present of keys and values of different sizes"));
    }
    let dtype = cx.dtype(if cx.has(2) { 2 } else { 0 })?;
    let (batch, length, width) = (batch.clone(), length.clone(), hidden.floor_div(&Dim::from(heads)));
    let total = old + length.clone();
    cx.set_tensor(0, dtype, vec![batch.clone(), length, values]);
    cx.set_tensor(1, dtype, vec![Dim::from(2i64), batch, Dim::from(heads), total, width]);
    Ok(())
}

fn decompose(graph: &mut Graph, id: NodeId) -> Result<Vec<Option<ValueId>>, String> {
    let mut r = Rebuild::new(graph, id);
    let mut all = r.op("MatMul", &[r.operand(0)?, r.operand(1)?], &[], "projected")?;
    if let Some(bias) = r.node.input(2) {
        all = r.op("Add", &[all, bias], &[], "biased")?;
    }
    let (mask, past, bias) = (r.node.input(3), r.node.input(4), r.node.input(5));
    attend(&mut r, all, mask, past, bias)
}

/// The results, of queries, keys and values side by side.
///
/// # Errors
/// When sizes are not known, or the mask has a form that is none.
pub(super) fn attend(
    r: &mut Rebuild<'_>,
    all: ValueId,
    mask: Option<ValueId>,
    past: Option<ValueId>,
    bias: Option<ValueId>,
) -> Result<Vec<Option<ValueId>>, String> {
    let columns = r.dims(all)?.last().cloned().ok_or("the projection has no columns")?;
    let heads = r.node.attrs.int("num_heads").unwrap_or(1);
    let sizes = sizes(r.node.attrs.ints("qkv_hidden_sizes"), &columns)?;
    let [Some(hidden), Some(values)] = sizes.map(|d| d.as_const()) else {
        return Err("the hidden sizes are not known".into());
    };
    let q = r.slice(all, (0, hidden), 2, "queries.all")?;
    let k = r.slice(all, (hidden, 2 * hidden), 2, "keys.all")?;
    let v = r.slice(all, (2 * hidden, 2 * hidden + values), 2, "values.all")?;
    let q = split(r, q, heads, "queries")?;
    let (mut k, mut v) = (split(r, k, heads, "keys")?, split(r, v, heads, "values")?);
    if let Some(past) = past {
        let [old_k, old_v] = [0i64, 1].map(|i| {
            let part = r.slice(past, (i, i + 1), 0, "old")?;
            let axis = r.ints("old.axis", &[0]);
            r.op("Squeeze", &[part, axis], &[], "cached")
        });
        k = r.concat(&[old_k?, k], 2, "all.keys")?;
        v = r.concat(&[old_v?, v], 2, "all.values")?;
    }
    let present = match r.node.output(1) {
        None => None,
        Some(_) => {
            let [k, v] = [k, v].map(|x| r.unsqueeze(x, &[0], "kept"));
            Some(r.concat(&[k?, v?], 0, "present")?)
        }
    };
    let mask = mask.map(|m| key_mask(r, m, q, k)).transpose()?;
    let mask = both(r, mask, bias)?;
    let causal = r.node.attrs.int("unidirectional").unwrap_or(0) != 0;
    let (heads, _) = Attend { mask, causal, ..Attend::new(q, k, v, scale(r, q)?) }.build(r)?;
    Ok(vec![Some(merge(r, heads)?), present])
}
