//! com.microsoft.MultiHeadAttention: attention over operands that hold heads side by side, packed or not, with a bias of
//! the three projections, masks and caches.

use super::heads::{Attend, Stage, both, frontier, key_mask, merge, scale, split};
use crate::rebuild::Rebuild;
use crate::{AttrDef, AttrKind, InferCx, OpDef, OpError, Param, TypeSet};
use planc_ir::{Graph, NodeId, ValueId};
use planc_tensor::{DType, Dim};

const FLOAT: TypeSet = TypeSet::of(&[DType::F32, DType::F16, DType::BF16]);

/// The row of MultiHeadAttention, whose nodes become planc::Attention.
pub const OP: OpDef = OpDef {
    name: "MultiHeadAttention",
    domain: "com.microsoft",
    types: &[("T", FLOAT), ("QK", FLOAT), ("M", TypeSet::of(&[DType::I32]))],
    inputs: &[
        Param::req("query", "T"),
        Param::opt("key", "T"),
        Param::opt("value", "T"),
        Param::opt("bias", "T"),
        Param::opt("key_padding_mask", "M"),
        Param::opt("attention_bias", "T"),
        Param::opt("past_key", "T"),
        Param::opt("past_value", "T"),
        Param::opt("past_sequence_length", "M"),
        Param::opt("cache_indirection", "M"),
    ],
    outputs: &[
        Param::req("output", "T"),
        Param::opt("present_key", "T"),
        Param::opt("present_value", "T"),
        Param::opt("qk", "QK"),
    ],
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
    if cx.has(8) || cx.has(9) {
        return Err(OpError::unsupported("caches that are shared between runs; export the model without them"));
    }
    if cx.has(6) != cx.has(7) {
        return Err(OpError::arity("past_key and past_value come together"));
    }
    let heads = cx.int("num_heads");
    if !(1..1 << 31).contains(&heads) {
        return Err(OpError::attribute(format!("num_heads is {heads}")));
    }
    let shape = |i: usize| match if cx.has(i) { cx.shape(i)? } else { Some(&[][..]) } {
        Some(s) => Ok(s),
        None => Err(OpError::unsupported(format!("operand {i} of unknown rank"))),
    };
    let n = Dim::from(heads);
    let (batch, length, of_keys, of_values, keys) = match (shape(0)?, shape(1)?, shape(2)?) {
        ([b, s, _, _, d], [], []) => (b, s, d.clone(), d.clone(), s),
        ([b, s, _], [_, l, _, _, d], []) => (b, s, d.clone(), d.clone(), l),
        ([b, s, _], [_, l, k], [_, _, v]) => (b, s, k.floor_div(&n), v.floor_div(&n), l),
        ([b, s, _], [_, _, l, k], [_, _, _, v]) => (b, s, k.clone(), v.clone(), l),
        (q, k, v) => {
            let ranks = [q.len(), k.len(), v.len()];
            return Err(OpError::shape(format!("queries, keys and values have ranks {ranks:?}")));
        }
    };
    let past = match shape(6)? {
        [] => Dim::from(0i64),
        [_, _, past, _] => past.clone(),
        s => return Err(OpError::shape(format!("past_key has rank {}, not 4", s.len()))),
    };
    let (batch, length, total) = (batch.clone(), length.clone(), past + keys.clone());
    let dtype = cx.dtype(0)?;
    cx.set_tensor(0, dtype, vec![batch.clone(), length.clone(), n.clone() * of_values.clone()]);
    cx.set_tensor(1, dtype, vec![batch.clone(), n.clone(), total.clone(), of_keys]);
    cx.set_tensor(2, dtype, vec![batch.clone(), n.clone(), total.clone(), of_values]);
    cx.set_tensor(3, dtype, vec![batch, n, length, total]);
    Ok(())
}

/// Queries, keys and values as heads, before caches.
fn operands(r: &mut Rebuild<'_>, heads: i64) -> Result<[ValueId; 3], String> {
    let (q, k, v) = (r.operand(0)?, r.node.input(1), r.node.input(2));
    let ranks = [Some(q), k, v].map(|x| x.map(|x| r.dims(x).map(|d| d.len())));
    let mut side_by_side = match (ranks, k, v) {
        ([Some(Ok(5)), ..], ..) => [0, 1, 2].map(|i| unpacked(r, q, i)),
        ([_, Some(Ok(5)), _], Some(k), _) => [Ok(q), unpacked(r, k, 0), unpacked(r, k, 1)],
        (_, Some(k), Some(v)) => [Ok(q), Ok(k), Ok(v)],
        _ => return Err("keys or values are missing".into()),
    };
    let mut start = 0;
    let bias = r.node.input(3);
    for x in &mut side_by_side {
        let value = x.clone()?;
        let dims = r.dims(value)?;
        // Keys and values that are heads already come from another projection, which had its bias.
        if dims.len() == 4 {
            continue;
        }
        if let Some(bias) = bias {
            let width = dims.last().and_then(Dim::as_const).ok_or("the hidden sizes are not known")?;
            let part = r.slice(bias, (start, start + width), 0, "bias")?;
            start += width;
            *x = r.op("Add", &[value, part], &[], "projected");
        }
    }
    let [q, k, v] = side_by_side;
    let mut whole = |x: ValueId, tag: &str| if r.dims(x)?.len() == 4 { Ok(x) } else { split(r, x, heads, tag) };
    Ok([whole(q?, "queries")?, whole(k?, "keys")?, whole(v?, "values")?])
}

/// Part `i` of `[batch, length, heads, parts, width]`, heads side by side.
fn unpacked(r: &mut Rebuild<'_>, x: ValueId, i: i64) -> Result<ValueId, String> {
    let dims = r.dims(x)?;
    let hidden = (dims[2].clone() * dims[4].clone()).as_const().unwrap_or(-1);
    let part = r.slice(x, (i, i + 1), 3, "packed")?;
    r.reshape(part, &[0, 0, hidden], "unpacked")
}

fn decompose(graph: &mut Graph, id: NodeId) -> Result<Vec<Option<ValueId>>, String> {
    let mut r = Rebuild::new(graph, id);
    let r = &mut r;
    let heads = r.node.attrs.int("num_heads").unwrap_or(1);
    let [q, mut k, mut v] = operands(r, heads)?;
    let new = r.dims(k)?[2].clone();
    let past = r.node.input(6);
    if let (Some(old_k), Some(old_v)) = (past, r.node.input(7)) {
        k = r.concat(&[old_k, k], 2, "all.keys")?;
        v = r.concat(&[old_v, v], 2, "all.values")?;
    }
    let padding = r.node.input(4).map(|m| key_mask(r, m, q, k)).transpose()?;
    let bias = r.node.input(5);
    let mut mask = both(r, padding, bias)?;
    let mut causal = r.node.attrs.int("unidirectional").unwrap_or(0) != 0;
    if causal && new != r.dims(q)?[2] {
        // The frontier starts at the first new key, whatever the number of keys.
        let before = match past {
            Some(past) => r.extent(past, 2, "past")?,
            None => r.ints("past", &[0]),
        };
        let seen = frontier(r, q, k, before)?;
        (mask, causal) = (both(r, mask, Some(seen))?, false);
    }
    let scores = r.node.output(3).map(|_| Stage::Scores);
    let attend = Attend { mask, causal, scores, ..Attend::new(q, k, v, scale(r, q)?) };
    let (heads, scores) = attend.build(r)?;
    let y = merge(r, heads)?;
    let mut kept = |x: ValueId, i: usize| r.node.output(i).map(|_| r.op("Identity", &[x], &[], "present")).transpose();
    Ok(vec![Some(y), kept(k, 1)?, kept(v, 2)?, scores])
}
