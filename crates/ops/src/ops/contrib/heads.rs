//! What ONNX Runtime's operators of attention share: operands with heads side by side, masks in its many forms, rotary
//! embeddings, and the attention itself, spelled out in operators that have kernels.
//!
//! Heads are operands `[batch, heads, length, width]`; masks are numbers that are added to the scores.

use crate::rebuild::Rebuild;
use planc_ir::{OpName, ValueId};
use planc_tensor::{Attr, DType, Dim, Tensor};

/// What masks a key for good, in numbers of `dtype`: the softmax of a row of nothing else stays finite.
pub(super) fn lowest(dtype: DType) -> f64 {
    if dtype == DType::F16 { -65504.0 } else { f64::from(f32::MIN) }
}

/// A constant extent, -1 (what is left of a reshape) otherwise.
fn or_rest(d: &Dim) -> i64 {
    d.as_const().unwrap_or(-1)
}

/// `[batch, length, heads * width]` as `[batch, heads, length, width]`.
///
/// # Errors
/// When the operand has another rank.
pub(super) fn split(r: &mut Rebuild<'_>, x: ValueId, heads: i64, tag: &str) -> Result<ValueId, String> {
    let dims = r.dims(x)?;
    let [_, _, hidden] = &dims[..] else { return Err(format!("{tag} are not of rank 3")) };
    let width = or_rest(&hidden.floor_div(&Dim::from(heads)));
    let apart = r.reshape(x, &[0, 0, heads, width], &format!("{tag}.apart"))?;
    r.transpose(apart, &[0, 2, 1, 3], tag)
}

/// `[batch, heads, length, width]` as `[batch, length, heads * width]`.
///
/// # Errors
/// When the operand has another rank.
pub(super) fn merge(r: &mut Rebuild<'_>, x: ValueId) -> Result<ValueId, String> {
    let dims = r.dims(x)?;
    let [_, heads, _, width] = &dims[..] else { return Err("the heads are not of rank 4".into()) };
    let hidden = or_rest(&(heads.clone() * width.clone()));
    let apart = r.transpose(x, &[0, 2, 1, 3], "beside")?;
    r.reshape(apart, &[0, 0, hidden], "merged")
}

/// An attribute `scale` of 0 or none is 1 / sqrt(width).
///
/// # Errors
/// When it is needed and not known.
pub(super) fn scale(r: &Rebuild<'_>, q: ValueId) -> Result<f32, String> {
    if let Some(scale) = r.node.attrs.float("scale").filter(|s| *s != 0.0) {
        return Ok(scale);
    }
    let width = r.dims(q)?.last().and_then(Dim::as_const).filter(|w| *w > 0);
    Ok(1.0 / (width.ok_or("the width of heads is not known")? as f32).sqrt())
}

/// Attention over heads: softmax(scale q k' + mask) v, with what some operators do to the scores.
pub(super) struct Attend {
    pub q: ValueId,
    pub k: ValueId,
    pub v: ValueId,
    /// Broadcasts to `[batch, heads, queries, keys]`.
    pub mask: Option<ValueId>,
    pub scale: f32,
    /// The last query sees all keys, the one before it one less, and so on.
    pub causal: bool,
    /// Scores are cap * tanh(score / cap); 0 for as they are.
    pub cap: f32,
    /// One more score per head that takes part in the softmax and belongs to no value: `[heads]`.
    pub sink: Option<ValueId>,
    /// Whether the scores are a result, and which.
    pub scores: Option<Stage>,
}

/// Which scores are a result.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// With the mask, before the softmax.
    Scores,
    /// What the softmax makes of them.
    Weights,
}

impl Attend {
    /// Plain attention over these heads.
    pub fn new(q: ValueId, k: ValueId, v: ValueId, scale: f32) -> Attend {
        Attend { q, k, v, mask: None, scale, causal: false, cap: 0.0, sink: None, scores: None }
    }

    /// Adds the nodes; the heads of the result, and the scores where they are asked for.
    ///
    /// # Errors
    /// When ranks are not known.
    pub fn build(self, r: &mut Rebuild<'_>) -> Result<(ValueId, Option<ValueId>), String> {
        if self.cap == 0.0 && self.sink.is_none() && self.scores.is_none() {
            let attrs = [("causal", Attr::Int(self.causal.into())), ("scale", Attr::Float(self.scale))];
            let mut inputs = vec![Some(self.q), Some(self.k), Some(self.v)];
            inputs.extend(self.mask.map(Some));
            let y = r.named(OpName::new("planc", "Attention"), &inputs, &attrs, ("attended", 1))?;
            return Ok((y[0], None));
        }
        let dtype = r.dtype(self.q);
        let heads = |v: ValueId, r: &Rebuild<'_>| {
            let count = r.dims(v)?.get(1).and_then(Dim::as_const);
            count.ok_or_else(|| "the number of heads is not known".to_string())
        };
        let (of_queries, of_keys) = (heads(self.q, r)?, heads(self.k, r)?);
        let group = of_queries.checked_div(of_keys).unwrap_or(1);
        let (mut k, mut v) = (self.k, self.v);
        if group != 1 {
            k = repeated(r, k, of_queries, group, "keys")?;
            v = repeated(r, v, of_queries, group, "values")?;
        }
        let turned = r.transpose(k, &[0, 1, 3, 2], "turned")?;
        let products = r.op("MatMul", &[self.q, turned], &[], "products")?;
        let factor = r.number("factor", dtype, self.scale.into())?;
        let mut scores = r.op("Mul", &[products, factor], &[], "scores")?;
        if self.cap > 0.0 {
            let cap = r.number("cap", dtype, self.cap.into())?;
            let share = r.op("Div", &[scores, cap], &[], "share")?;
            let bounded = r.op("Tanh", &[share], &[], "bounded")?;
            scores = r.op("Mul", &[bounded, cap], &[], "capped")?;
        }
        if self.causal {
            let (queries, keys) = (r.extent(self.q, 2, "queries")?, r.extent(self.k, 2, "keys")?);
            let before = r.op("Sub", &[keys, queries], &[], "before")?;
            let frontier = frontier(r, self.q, self.k, before)?;
            scores = r.op("Add", &[scores, frontier], &[], "causal")?;
        }
        if let Some(mask) = self.mask {
            scores = r.op("Add", &[scores, mask], &[], "masked")?;
        }
        let mut weights = match self.sink {
            None => r.op("Softmax", &[scores], &[], "weights")?,
            Some(sink) => {
                let column = r.reshape(sink, &[1, of_queries, 1, 1], "sink")?;
                let last = r.slice(scores, (0, 1), 3, "first")?;
                let shape = r.op("Shape", &[last], &[], "column")?;
                let column = r.op("Expand", &[column, shape], &[], "sinks")?;
                let all = r.concat(&[column, scores], 3, "sunk")?;
                r.op("Softmax", &[all], &[], "weights")?
            }
        };
        if self.sink.is_some() {
            weights = r.slice(weights, (1, i64::MAX), 3, "kept")?;
        }
        let y = r.op("MatMul", &[weights, v], &[], "attended")?;
        Ok((y, self.scores.map(|s| if s == Stage::Scores { scores } else { weights })))
    }
}

/// Each head `group` times in a row: heads of queries share those of keys.
fn repeated(r: &mut Rebuild<'_>, x: ValueId, heads: i64, group: i64, tag: &str) -> Result<ValueId, String> {
    let single = r.unsqueeze(x, &[2], &format!("{tag}.single"))?;
    let times = r.ints(&format!("{tag}.times"), &[1, 1, group, 1, 1]);
    let wide = r.op("Expand", &[single, times], &[], &format!("{tag}.wide"))?;
    let width = r.dims(x)?.get(3).map_or(-1, or_rest);
    let length = r.extent(x, 2, &format!("{tag}.length"))?;
    let [batch, heads, width] = [0, heads, width].map(|d| r.ints(&format!("{tag}.extent"), &[d]));
    let shape = r.concat(&[batch, heads, length, width], 0, &format!("{tag}.extents"))?;
    r.op("Reshape", &[wide, shape], &[], tag)
}

/// A mask `[queries, keys]`: the first query sees `before` keys and the next one, each further query one more.
pub(super) fn frontier(r: &mut Rebuild<'_>, q: ValueId, k: ValueId, before: ValueId) -> Result<ValueId, String> {
    let (queries, keys) = (r.extent(q, 2, "queries")?, r.extent(k, 2, "keys")?);
    let rows = positions(r, queries, "rows")?;
    let rows = r.op("Add", &[rows, before], &[], "rows.at")?;
    let rows = r.unsqueeze(rows, &[1], "rows.column")?;
    let columns = positions(r, keys, "columns")?;
    let seen = r.op("LessOrEqual", &[columns, rows], &[], "seen")?;
    let dtype = r.dtype(q);
    filter(r, seen, lowest(dtype), dtype, "frontier")
}

/// The numbers from 0 to an extent, i64.
pub(super) fn positions(r: &mut Rebuild<'_>, extent: ValueId, tag: &str) -> Result<ValueId, String> {
    let [zero, one] = [0i64, 1].map(|v| r.constant(&format!("{tag}.bound"), Tensor::scalar(v)));
    let end = r.reshape(extent, &[], &format!("{tag}.end"))?;
    r.op("Range", &[zero, end, one], &[], tag)
}

/// 0 where a condition holds, `filter` elsewhere.
pub(super) fn filter(
    r: &mut Rebuild<'_>,
    seen: ValueId,
    filter: f64,
    dtype: DType,
    tag: &str,
) -> Result<ValueId, String> {
    let zero = r.number(&format!("{tag}.zero"), dtype, 0.0)?;
    let filter = r.number(&format!("{tag}.filter"), dtype, filter.max(lowest(dtype)))?;
    r.op("Where", &[seen, zero, filter], &[], tag)
}

/// A sum of two masks, of which either may be none.
pub(super) fn both(r: &mut Rebuild<'_>, a: Option<ValueId>, b: Option<ValueId>) -> Result<Option<ValueId>, String> {
    match (a, b) {
        (Some(a), Some(b)) => Ok(Some(r.op("Add", &[a, b], &[], "mask")?)),
        (a, b) => Ok(a.or(b)),
    }
}

/// A mask of keys in one of the forms that ONNX Runtime takes, as one that broadcasts to `[batch, heads, queries, keys]`.
///
/// `[batch, keys]`, `[batch, queries, keys]` and `[batch, 1, longest, longest]` hold what is not 0 where a key counts.
/// `[batch]` and `[3 * batch + 2]` begin with the number of keys of each sequence, `[2 * batch]` goes on with the first.
///
/// # Errors
/// When the form is not known or not one of these.
pub(super) fn key_mask(r: &mut Rebuild<'_>, mask: ValueId, q: ValueId, k: ValueId) -> Result<ValueId, String> {
    let (dtype, value) = (r.dtype(q), r.node.attrs.float("mask_filter_value").unwrap_or(-10000.0));
    let nothing = r.constant("nothing", Tensor::scalar(0i32));
    let dims = r.dims(mask)?;
    let (seen, axes): (ValueId, &[i64]) = match dims.len() {
        1 => (counted(r, mask, &dims[0], (q, k))?, &[1, 2]),
        2 => (r.op("Greater", &[mask, nothing], &[], "seen")?, &[1, 2]),
        3 => (r.op("Greater", &[mask, nothing], &[], "seen")?, &[1]),
        4 => {
            let (queries, keys) = (r.extent(q, 2, "queries")?, r.extent(k, 2, "keys")?);
            let before = r.op("Sub", &[keys, queries], &[], "before")?;
            let rows = r.between(mask, (before, keys), 2, "mask.rows")?;
            let zero = r.ints("mask.start", &[0]);
            let part = r.between(rows, (zero, keys), 3, "mask.part")?;
            (r.op("Greater", &[part, nothing], &[], "seen")?, &[])
        }
        rank => return Err(format!("a mask of rank {rank}")),
    };
    let mask = filter(r, seen, value.into(), dtype, "padding")?;
    if axes.is_empty() { Ok(mask) } else { r.unsqueeze(mask, axes, "padding.heads") }
}

/// Which keys `[batch, keys]` count, from a vector of counts and perhaps of first keys.
fn counted(r: &mut Rebuild<'_>, mask: ValueId, n: &Dim, (q, k): (ValueId, ValueId)) -> Result<ValueId, String> {
    let batch = r.dims(q)?.first().cloned().ok_or("the queries have no batch")?;
    let twice = batch.clone() + batch.clone();
    let mask = r.cast(mask, DType::I64, "bounds")?;
    let keys = r.extent(k, 2, "keys")?;
    let at = positions(r, keys, "key")?;
    let count = r.extent(q, 0, "batch")?;
    let zero = r.ints("first", &[0]);
    let ends = if *n == batch { mask } else { r.between(mask, (zero, count), 0, "ends")? };
    let column = r.unsqueeze(ends, &[1], "ends.column")?;
    let below = r.op("Less", &[at, column], &[], "below")?;
    if *n == batch || *n == twice.clone() + batch.clone() + Dim::from(2i64) {
        return Ok(below);
    }
    let all = r.extent(mask, 0, "all")?;
    let starts = if *n == twice {
        r.between(mask, (count, all), 0, "starts")?
    } else if n.as_const().and(batch.as_const()).is_some() {
        return Err(format!("a mask of {n} elements is not one of keys per sequence"));
    } else {
        // Only the run knows whether first keys are there; without them all begin at 0.
        let zeros = r.op("Sub", &[ends, ends], &[], "zeros")?;
        let padded = r.concat(&[mask, zeros], 0, "padded")?;
        let end = r.op("Add", &[count, count], &[], "both")?;
        let starts = r.between(padded, (count, end), 0, "starts.any")?;
        let given = r.op("Equal", &[all, end], &[], "given")?;
        r.op("Where", &[given, starts, zeros], &[], "starts")?
    };
    let column = r.unsqueeze(starts, &[1], "starts.column")?;
    let from = r.op("GreaterOrEqual", &[at, column], &[], "from")?;
    r.op("And", &[below, from], &[], "seen")
}

/// Rotates pairs of elements of heads by angles that tables hold for each position: the first of `[.., 2 * width]`
/// elements of each head, or of neighbours. Tables are `[places, width]`, positions `[batch or 1, length]`.
///
/// # Errors
/// When the tables' width is not known.
pub(super) fn rotate(
    r: &mut Rebuild<'_>,
    x: ValueId,
    (cos, sin): (ValueId, ValueId),
    at: ValueId,
    interleaved: bool,
    tag: &str,
) -> Result<ValueId, String> {
    let dims = r.dims(x)?;
    let [_, heads, _, width] = &dims[..] else { return Err(format!("{tag} are not heads")) };
    let half = r.dims(cos)?.last().and_then(Dim::as_const).ok_or("the width of the rotary tables is not known")?;
    let [cos, sin] = [cos, sin].map(|table| {
        let rows = r.op("Gather", &[table, at], &[], &format!("{tag}.angle"))?;
        r.unsqueeze(rows, &[1], &format!("{tag}.angles"))
    });
    let (cos, sin) = (cos?, sin?);
    let rest = width.as_const() != Some(2 * half);
    let turned = if rest { r.slice(x, (0, 2 * half), 3, &format!("{tag}.turned"))? } else { x };
    let parts = if interleaved {
        let pairs = r.reshape(turned, &[0, or_rest(heads), -1, half, 2], &format!("{tag}.pairs"))?;
        [0i64, 1].map(|i| {
            let index = r.constant(&format!("{tag}.index"), Tensor::scalar(i));
            r.op("Gather", &[pairs, index], &[("axis", Attr::Int(4))], &format!("{tag}.part"))
        })
    } else {
        [0, 1].map(|i| r.slice(turned, (i * half, (i + 1) * half), 3, &format!("{tag}.part")))
    };
    let [a, b] = parts;
    let (a, b) = (a?, b?);
    let mut product = |x: ValueId, y: ValueId| r.op("Mul", &[x, y], &[], &format!("{tag}.product"));
    let products = [product(a, cos)?, product(b, sin)?, product(a, sin)?, product(b, cos)?];
    let first = r.op("Sub", &products[..2], &[], &format!("{tag}.first"))?;
    let second = r.op("Add", &products[2..], &[], &format!("{tag}.second"))?;
    let mut all = if interleaved {
        let first = r.unsqueeze(first, &[4], &format!("{tag}.even"))?;
        let second = r.unsqueeze(second, &[4], &format!("{tag}.odd"))?;
        let pairs = r.concat(&[first, second], 4, &format!("{tag}.paired"))?;
        let shape = [0, or_rest(heads), -1, 2 * half];
        vec![r.reshape(pairs, &shape, &format!("{tag}.rotated"))?]
    } else {
        vec![first, second]
    };
    if rest {
        all.push(r.slice(x, (2 * half, i64::MAX), 3, &format!("{tag}.rest"))?);
    }
    if let [only] = all[..] { Ok(only) } else { r.concat(&all, 3, tag) }
}
