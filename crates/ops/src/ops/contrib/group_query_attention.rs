//! com.microsoft.GroupQueryAttention: causal attention with caches whose sequences may differ in length, rotary
//! embeddings, and heads of queries that share those of keys.
//!
//! A cache holds the keys of each sequence from its start on. New keys follow the old ones of their sequence, so where
//! lengths differ the cache is gathered anew; where all are known to be the cache's length it is a concatenation.

use super::heads::{Attend, Stage, both, filter, lowest, merge, positions, rotate, scale, split};
use crate::rebuild::Rebuild;
use crate::{AttrDef, AttrKind, InferCx, OpDef, OpError, Param, TypeSet};
use planc_ir::{Graph, NodeId, ValueId};
use planc_tensor::{Attr, DType, Dim, Tensor};

const FLOAT: TypeSet = TypeSet::of(&[DType::F32, DType::F16, DType::BF16]);

/// The row of GroupQueryAttention, whose nodes become planc::Attention.
pub const OP: OpDef = OpDef {
    name: "GroupQueryAttention",
    domain: "com.microsoft",
    types: &[
        ("T", FLOAT),
        ("T_CACHE", FLOAT.or(TypeSet::BYTE).or(TypeSet::FLOAT8)),
        ("T_KV_SCALE", TypeSet::F32),
        ("M", TypeSet::of(&[DType::I32])),
        ("tensor(int64)", TypeSet::I64),
    ],
    inputs: &[
        Param::req("query", "T"),
        Param::opt("key", "T"),
        Param::opt("value", "T"),
        Param::opt("past_key", "T_CACHE"),
        Param::opt("past_value", "T_CACHE"),
        Param::req("seqlens_k", "M"),
        Param::req("total_sequence_length", "M"),
        Param::opt("cos_cache", "T"),
        Param::opt("sin_cache", "T"),
        Param::opt("position_ids", "tensor(int64)"),
        Param::opt("attention_bias", "T"),
        Param::opt("head_sink", "T"),
        Param::opt("k_scale", "T_KV_SCALE"),
        Param::opt("v_scale", "T_KV_SCALE"),
        Param::opt("q_norm_weight", "T"),
        Param::opt("k_norm_weight", "T"),
    ],
    outputs: &[
        Param::req("output", "T"),
        Param::opt("present_key", "T_CACHE"),
        Param::opt("present_value", "T_CACHE"),
        Param::opt("output_qk", "T"),
    ],
    attrs: &[
        AttrDef::int("causal", 1),
        AttrDef::int("do_rotary", 0),
        AttrDef::str("k_quant_type", "NONE"),
        AttrDef::int("kv_cache_bit_width", 0),
        AttrDef::required("kv_num_heads", AttrKind::Int),
        AttrDef::int("local_window_size", -1),
        AttrDef::required("num_heads", AttrKind::Int),
        AttrDef::float("qk_norm_epsilon", 1e-6),
        AttrDef::int("qk_output", 0),
        AttrDef::int("rotary_interleaved", 0),
        AttrDef::float("scale", 0.0),
        AttrDef::int("sliding_window_cache", 0),
        AttrDef::int("smooth_softmax", 0),
        AttrDef::float("softcap", 0.0),
        AttrDef::str("v_quant_type", "NONE"),
    ],
    infer,
    decompose: Some(decompose),
    ..OpDef::NEW
};

/// Heads of queries and of keys.
///
/// # Errors
/// When they are not positive or do not divide.
fn heads(attr: impl Fn(&str) -> i64) -> Result<(i64, i64), String> {
    let (n, k) = (attr("num_heads"), attr("kv_num_heads"));
    let fit = (1..1 << 31).contains(&n) && k > 0 && n % k == 0;
    if fit { Ok((n, k)) } else { Err(format!("{n} heads of queries do not divide among {k}")) }
}

fn infer(cx: &mut InferCx<'_>) -> Result<(), OpError> {
    let (n, kv) = heads(|name| cx.int(name)).map_err(OpError::attribute)?;
    let quantised = ["k_quant_type", "v_quant_type"].into_iter().any(|name| !matches!(cx.str(name), "" | "NONE"));
    if quantised || cx.has(12) || cx.has(13) {
        return Err(OpError::unsupported("quantised caches; export the model with caches of floats"));
    }
    if cx.flag("sliding_window_cache") {
        return Err(OpError::unsupported("caches of a sliding window; export the model with caches of all keys"));
    }
    for (a, b, what) in [(1, 2, "key and value"), (3, 4, "past_key and past_value"), (14, 15, "the norms' weights")] {
        if cx.has(a) != cx.has(b) {
            return Err(OpError::arity(format!("{what} come together")));
        }
    }
    if cx.flag("do_rotary") && !(cx.has(7) && cx.has(8)) {
        return Err(OpError::arity("cos_cache and sin_cache are missing beside do_rotary"));
    }
    let dtype = cx.dtype(0)?;
    if cx.has(3) && cx.dtype(3)? != dtype {
        return Err(OpError::unsupported(format!(
            "caches of {}; export the model with caches of floats",
            cx.dtype(3)?
        )));
    }
    let Some([batch, length, hidden]) = cx.shape(0)? else {
        return Err(OpError::shape("the queries are not of rank 3"));
    };
    let parts = if cx.has(1) { n } else { n + 2 * kv };
    let (batch, length, width) = (batch.clone(), length.clone(), hidden.floor_div(&Dim::from(parts)));
    let old = match if cx.has(3) { cx.shape(3)? } else { Some(&[][..]) } {
        Some([]) => Some(Dim::from(0i64)),
        Some([_, _, old, _]) => Some(old.clone()),
        Some(s) => return Err(OpError::shape(format!("past_key has rank {}, not 4", s.len()))),
        None => None,
    };
    let total = cx.known(6).and_then(|t| t.first().cloned());
    let present = match (old, total.clone()) {
        (Some(old), Some(total)) => longer(&old, &total),
        _ => cx.fresh(1, 2),
    };
    let kept = vec![batch.clone(), Dim::from(kv), present, width.clone()];
    cx.set_tensor(0, dtype, vec![batch.clone(), length.clone(), Dim::from(n) * width]);
    cx.set_tensor(1, dtype, kept.clone());
    cx.set_tensor(2, dtype, kept);
    let total = total.unwrap_or_else(|| cx.fresh(3, 3));
    cx.set_tensor(3, dtype, vec![batch, Dim::from(n), length, total]);
    Ok(())
}

/// The larger of two extents; a cache and what is added to it are never shorter than the cache.
fn longer(old: &Dim, total: &Dim) -> Dim {
    let added = total.clone() - old.clone();
    if added.at_least().is_some_and(|least| least >= 0) { total.clone() } else { old.maximum(total) }
}

/// Where the sequences of a batch are.
struct Places {
    /// Positions of the new elements, `[batch, length]`.
    at: ValueId,
    /// Old keys per sequence, `[batch, 1]`.
    before: ValueId,
    /// All keys per sequence, `[batch, 1]`.
    after: ValueId,
    /// The most keys of a sequence, a vector of one element.
    total: ValueId,
    /// Old and new keys of all sequences are all that there are: none is shorter than another.
    even: bool,
}

impl Places {
    fn new(r: &mut Rebuild<'_>, q: ValueId, causal: bool) -> Result<Places, String> {
        let length = r.extent(q, 2, "length")?;
        let lengths = r.cast(r.operand(5)?, DType::I64, "last")?;
        let lengths = r.reshape(lengths, &[-1, 1], "last.column")?;
        let one = r.ints("one", &[1]);
        let after = r.op("Add", &[lengths, one], &[], "after")?;
        let before = r.op("Sub", &[after, length], &[], "before")?;
        let none = r.ints("none", &[0]);
        // A first prompt may be padded at its end.
        let before = r.op("Max", &[before, none], &[], "before.any")?;
        let steps = positions(r, length, "step")?;
        let at = r.op("Add", &[before, steps], &[], "at")?;
        let known = r.graph.value(r.operand(6)?).known.as_ref().and_then(|k| k.first().cloned());
        let known =
            known.or_else(|| r.graph.constant(r.operand(6).ok()?)?.view().to_i64()?.first().map(|v| Dim::from(*v)));
        let total = r.cast(r.operand(6)?, DType::I64, "total")?;
        let total = r.reshape(total, &[1], "total.vector")?;
        let dims = r.dims(q)?;
        let even = match r.node.input(3) {
            // What follows the end of a shorter prompt is seen by nothing but what follows it too.
            None => causal && known.as_ref() == Some(&dims[2]),
            Some(past) => {
                let old = r.dims(past)?[2].clone();
                dims[0].as_const() == Some(1) && known == Some(old + dims[2].clone())
            }
        };
        Ok(Places { at, before, after, total, even })
    }

    /// `old` followed by `new`, sequence by sequence, and zeros up to the extent of the cache.
    fn kept(&self, r: &mut Rebuild<'_>, old: Option<ValueId>, new: ValueId) -> Result<ValueId, String> {
        if self.even {
            return match old {
                Some(old) => r.concat(&[old, new], 2, "present"),
                None => r.op("Identity", &[new], &[], "present"),
            };
        }
        let dtype = r.dtype(new);
        let dims = r.dims(new)?;
        let [heads, width] = [1, 3].map(|i| dims[i].as_const().ok_or("the heads' extents are not known"));
        let (heads, width) = (heads?, width?);
        let batch = r.extent(new, 0, "batch")?;
        let row = r.ints("padding.row", &[heads, 1, width]);
        let shape = r.concat(&[batch, row], 0, "padding.shape")?;
        let zero = Tensor::zeros(dtype, vec![1]).map_err(|e| e.to_string())?;
        let zero = r.op("ConstantOfShape", &[shape], &[("value", Attr::Tensor(zero))], "padding")?;
        let all = [old, Some(new), Some(zero)].into_iter().flatten().collect::<Vec<_>>();
        let all = r.concat(&all, 2, "rows")?;
        let length = r.extent(new, 2, "new")?;
        let (past, extent) = match old {
            Some(old) => {
                let past = r.extent(old, 2, "past")?;
                (past, r.op("Max", &[past, self.total], &[], "capacity")?)
            }
            None => (r.ints("past", &[0]), self.total),
        };
        let row = positions(r, extent, "row")?;
        let end = r.op("Add", &[self.before, length], &[], "end")?;
        let is_new = r.op("Less", &[row, end], &[], "is_new")?;
        let is_old = r.op("Less", &[row, self.before], &[], "is_old")?;
        let shift = r.op("Sub", &[past, self.before], &[], "shift")?;
        let moved = r.op("Add", &[row, shift], &[], "moved")?;
        let last = r.op("Add", &[past, length], &[], "last.row")?;
        let from = r.op("Where", &[is_new, moved, last], &[], "from")?;
        let from = r.op("Where", &[is_old, row, from], &[], "from.any")?;
        let from = r.unsqueeze(from, &[1, 3], "from.tuples")?;
        let times = r.ints("from.times", &[1, heads, 1, 1]);
        let from = r.op("Expand", &[from, times], &[], "from.heads")?;
        r.op("GatherND", &[all, from], &[("batch_dims", Attr::Int(2))], "present")
    }

    /// What the queries see of `[batch, queries, keys]`, as a mask; `None` where the kernel's own frontier says it.
    fn mask(&self, r: &mut Rebuild<'_>, q: ValueId, causal: bool, window: i64) -> Result<Option<ValueId>, String> {
        if self.even && causal && window < 0 {
            return Ok(None);
        }
        let keys = positions(r, self.total, "key")?;
        let seen = if causal {
            let rows = r.unsqueeze(self.at, &[2], "row.at")?;
            let seen = r.op("LessOrEqual", &[keys, rows], &[], "seen")?;
            if window < 0 {
                seen
            } else {
                let window = r.ints("window", &[window]);
                let first = r.op("Sub", &[rows, window], &[], "outside")?;
                let near = r.op("Greater", &[keys, first], &[], "near")?;
                r.op("And", &[seen, near], &[], "seen.near")?
            }
        } else {
            let end = r.unsqueeze(self.after, &[2], "end")?;
            r.op("Less", &[keys, end], &[], "seen")?
        };
        let dtype = r.dtype(q);
        let mask = filter(r, seen, lowest(dtype), dtype, "unseen")?;
        Ok(Some(r.unsqueeze(mask, &[1], "unseen.heads")?))
    }
}

/// Queries, keys and values as heads, normalised where there are weights for that.
fn operands(r: &mut Rebuild<'_>, n: i64, kv: i64) -> Result<[ValueId; 3], String> {
    let q = r.operand(0)?;
    let [q, k, v] = match (r.node.input(1), r.node.input(2)) {
        (Some(k), Some(v)) => [q, k, v],
        _ => {
            let hidden = r.dims(q)?.last().and_then(Dim::as_const).ok_or("the hidden size is not known")?;
            let width = hidden / (n + 2 * kv);
            let ends = [0, n, n + kv, n + 2 * kv].map(|heads| heads * width);
            let mut part = |i: usize| r.slice(q, (ends[i], ends[i + 1]), 2, "packed");
            [part(0)?, part(1)?, part(2)?]
        }
    };
    let q = split(r, q, n, "queries")?;
    let (k, v) = (split(r, k, kv, "keys")?, split(r, v, kv, "values")?);
    match (r.node.input(14), r.node.input(15)) {
        (Some(of_q), Some(of_k)) => {
            let epsilon = r.node.attrs.float("qk_norm_epsilon").unwrap_or(1e-6);
            let mut norm = |x: ValueId, weight: ValueId| {
                r.op("SimplifiedLayerNormalization", &[x, weight], &[("epsilon", Attr::Float(epsilon))], "normalised")
            };
            Ok([norm(q, of_q)?, norm(k, of_k)?, v])
        }
        _ => Ok([q, k, v]),
    }
}

fn decompose(graph: &mut Graph, id: NodeId) -> Result<Vec<Option<ValueId>>, String> {
    let mut r = Rebuild::new(graph, id);
    let r = &mut r;
    let attr = |r: &Rebuild<'_>, name: &str, default: i64| r.node.attrs.int(name).unwrap_or(default);
    let (n, kv) = heads(|name| attr(r, name, 0))?;
    let (causal, window) = (attr(r, "causal", 1) != 0, attr(r, "local_window_size", -1));
    let [mut q, mut k, v] = operands(r, n, kv)?;
    let places = Places::new(r, q, causal)?;
    if attr(r, "do_rotary", 0) != 0 {
        let tables = (r.operand(7)?, r.operand(8)?);
        let at = r.node.input(9).unwrap_or(places.at);
        let interleaved = attr(r, "rotary_interleaved", 0) != 0;
        q = rotate(r, q, tables, at, interleaved, "q.rotated")?;
        k = rotate(r, k, tables, at, interleaved, "k.rotated")?;
    }
    let scale = scale(r, q)?;
    let (old_k, old_v) = (r.node.input(3), r.node.input(4));
    let (present_k, present_v) = (places.kept(r, old_k, k)?, places.kept(r, old_v, v)?);
    let seen = |x: ValueId, r: &mut Rebuild<'_>| match places.even || old_k.is_none() {
        true => Ok(x),
        // A cache may be longer than its sequences.
        false => {
            let start = r.ints("start", &[0]);
            r.between(x, (start, places.total), 2, "used")
        }
    };
    let (k, v) = (seen(present_k, r)?, seen(present_v, r)?);
    let mask = places.mask(r, q, causal, window)?;
    let causal = mask.is_none();
    let bias = r.node.input(10);
    let mask = both(r, mask, bias)?;
    let sink = match r.node.input(11) {
        Some(sink) => Some(sink),
        None if attr(r, "smooth_softmax", 0) > 0 => {
            let dtype = r.dtype(q);
            let zeros = Tensor::zeros(dtype, vec![usize::try_from(n).unwrap_or(1)]).map_err(|e| e.to_string())?;
            Some(r.constant("smooth", zeros))
        }
        None => None,
    };
    let cap = r.node.attrs.float("softcap").unwrap_or(0.0);
    let wanted = match (r.node.output(3), attr(r, "qk_output", 0)) {
        (None, _) => None,
        (Some(_), 2) => Some(Stage::Weights),
        _ => Some(Stage::Scores),
    };
    let (heads, scores) = Attend { mask, causal, cap, sink, scores: wanted, ..Attend::new(q, k, v, scale) }.build(r)?;
    let y = merge(r, heads)?;
    let scores = match scores {
        Some(scores) if wanted == Some(Stage::Scores) => Some(seen_only(r, scores)?),
        scores => scores,
    };
    Ok(vec![Some(y), r.node.output(1).map(|_| present_k), r.node.output(2).map(|_| present_v), scores])
}

/// Scores with 0 in place of what is not seen.
fn seen_only(r: &mut Rebuild<'_>, scores: ValueId) -> Result<ValueId, String> {
    let dtype = r.dtype(scores);
    let bound = r.number("unseen.bound", dtype, lowest(dtype) / 2.0)?;
    let seen = r.op("Greater", &[scores, bound], &[], "is_seen")?;
    let zero = r.number("nothing", dtype, 0.0)?;
    r.op("Where", &[seen, scores, zero], &[], "scores.seen")
}
