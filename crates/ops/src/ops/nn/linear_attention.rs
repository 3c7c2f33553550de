//! LinearAttention: attention whose memory is one matrix per head, written with outer products of keys and values and
//! read by queries, step by step. `update_rule` says whether the memory decays (gated) and whether a value is corrected
//! by what the memory holds for its key already (delta).

use crate::floats::{narrow, widen, widen_opt};
use crate::{AttrDef, AttrKind, EvalCx, InferCx, OpDef, OpError, Param, TypeSet, operand};
use planc_tensor::{DType, Dim, Tensor, View};

const FLOATS: TypeSet = TypeSet::of(&[DType::F32, DType::F16, DType::BF16]);

/// The row of LinearAttention.
pub const OP: OpDef = OpDef {
    name: "LinearAttention",
    since: 27,
    types: &[("T", FLOATS), ("S", FLOATS)],
    inputs: &[
        Param::req("query", "T"),
        Param::req("key", "T"),
        Param::req("value", "T"),
        Param::opt("past_state", "S"),
        Param::opt("decay", "T"),
        Param::opt("beta", "T"),
    ],
    outputs: &[Param::req("output", "T"), Param::req("present_state", "S")],
    attrs: &[
        AttrDef::int("chunk_size", 64),
        AttrDef::required("kv_num_heads", AttrKind::Int),
        AttrDef::required("q_num_heads", AttrKind::Int),
        AttrDef::float("scale", 0.0),
        AttrDef::str("update_rule", "gated_delta"),
    ],
    infer,
    eval: Some(eval),
    ..OpDef::NEW
};

/// Whether the memory decays, and whether values are corrected.
fn rule(name: &str, has: impl Fn(usize) -> bool) -> Result<(bool, bool), OpError> {
    let (gated, delta) = match name {
        "linear" => (false, false),
        "gated" => (true, false),
        "delta" => (false, true),
        "gated_delta" => (true, true),
        other => return Err(OpError::attribute(format!("update_rule is {other:?}"))),
    };
    for (what, i, wanted) in [("decay", 4, gated), ("beta", 5, delta)] {
        if has(i) != wanted {
            let verb = if wanted { "needs" } else { "takes no" };
            return Err(OpError::arity(format!("update_rule {name:?} {verb} {what}")));
        }
    }
    Ok((gated, delta))
}

/// Heads of queries, and of keys and values.
fn heads(q: i64, kv: i64) -> Result<(usize, usize), OpError> {
    match (usize::try_from(q), usize::try_from(kv)) {
        (Ok(q), Ok(kv)) if q > 0 && kv > 0 && q % kv == 0 => Ok((q, kv)),
        _ => Err(OpError::attribute(format!("{q} heads of queries are not a multiple of {kv} heads of keys"))),
    }
}

fn infer(cx: &mut InferCx<'_>) -> Result<(), OpError> {
    rule(cx.str("update_rule"), |i| cx.has(i))?;
    let (q_heads, kv_heads) = heads(cx.int("q_num_heads"), cx.int("kv_num_heads"))?;
    for i in 0..3 {
        if cx.shape(i)?.is_some_and(|s| s.len() != 3) {
            return Err(OpError::shape(format!("operand {i} is not of rank 3")));
        }
    }
    let dtype = cx.dtype(0)?;
    let state = if cx.has(3) { cx.dtype(3)? } else { dtype };
    let (query, value) = (cx.shape(0)?.map(<[Dim]>::to_vec), cx.shape(2)?.map(<[Dim]>::to_vec));
    let part = |d: &Dim, n: usize| d.floor_div(&Dim::from(n));
    match (query, value) {
        (Some(q), Some(v)) => {
            let (dk, dv) = (part(&q[2], q_heads), part(&v[2], kv_heads));
            let batch = q[0].clone();
            cx.set_tensor(0, dtype, vec![batch.clone(), q[1].clone(), dv.clone() * Dim::from(q_heads)]);
            cx.set_tensor(1, state, vec![batch, Dim::from(kv_heads), dk, dv]);
        }
        _ => {
            cx.set_shape(0, dtype, None);
            cx.set_shape(1, state, None);
        }
    }
    Ok(())
}

fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>]) -> Result<Vec<Tensor>, OpError> {
    let at = |i: usize| inputs.get(i).copied().flatten();
    let (gated, delta) = rule(cx.str("update_rule"), |i| at(i).is_some())?;
    let (qh, kvh) = heads(cx.int("q_num_heads"), cx.int("kv_num_heads"))?;
    let (query, key, value) = (operand(inputs, 0)?, operand(inputs, 1)?, operand(inputs, 2)?);
    let ([b, t, qw], [_, _, kw], [_, _, vw]) = (query.shape(), key.shape(), value.shape()) else {
        return Err(OpError::shape("query, key and value are not all of rank 3"));
    };
    let (b, t, dk, dv) = (*b, *t, qw / qh, vw / kvh);
    let fits = key.shape()[..2] == [b, t] && value.shape()[..2] == [b, t];
    if !fits || dk * qh != *qw || dk * kvh != *kw || dv * kvh != *vw {
        let what = format!("{:?}, {:?} and {:?} do not divide into heads", query.shape(), key.shape(), value.shape());
        return Err(OpError::shape(what));
    }
    let state_shape = [b, kvh, dk, dv];
    let out_shape = [b, t, qh * dv];
    cx.reserve(DType::F64, &state_shape)?;
    let count = cx.reserve(DType::F64, &out_shape)?;
    let wrong = |what: &str| Err(OpError::shape(format!("{what} does not fit the heads")));
    // One decay for a head, or one for each of its rows; one correction for a head, or for all.
    let (decays, betas) = (at(4).map(|d| d.shape().to_vec()), at(5).map(|d| d.shape().to_vec()));
    let decay_width = match &decays {
        Some(s) if s.len() == 3 && s[..2] == [b, t] && (s[2] == kvh || s[2] == kvh * dk) => s[2],
        None => 0,
        Some(_) => return wrong("decay"),
    };
    let beta_width = match &betas {
        Some(s) if s.len() == 3 && s[..2] == [b, t] && (s[2] == kvh || s[2] == 1) => s[2],
        None => 0,
        Some(_) => return wrong("beta"),
    };
    if at(3).is_some_and(|s| s.shape() != state_shape) {
        return wrong("past_state");
    }
    let (q, k, v) = (widen(query)?, widen(key)?, widen(value)?);
    let (decay, beta) = (widen_opt(at(4))?.unwrap_or_default(), widen_opt(at(5))?.unwrap_or_default());
    let mut state = widen_opt(at(3))?.unwrap_or_else(|| vec![0.0; b * kvh * dk * dv]);
    let scale = match cx.float("scale") {
        0.0 => 1.0 / (dk as f64).sqrt(),
        s => f64::from(s),
    };
    let group = qh / kvh;
    let mut out = vec![0.0; count];
    let mut written = vec![0.0; dv];
    for row in 0..b * t {
        for head in 0..kvh {
            let memory = &mut state[(row / t * kvh + head) * dk * dv..][..dk * dv];
            let k = &k[(row * kvh + head) * dk..][..dk];
            if gated {
                for (i, line) in memory.chunks_mut(dv.max(1)).enumerate() {
                    let at = if decay_width == kvh { head } else { head * dk + i };
                    let factor = libm::exp(decay[row * decay_width + at]);
                    line.iter_mut().for_each(|m| *m *= factor);
                }
            }
            written.copy_from_slice(&v[(row * kvh + head) * dv..][..dv]);
            if delta {
                let beta = beta[row * beta_width + if beta_width == 1 { 0 } else { head }];
                for (j, w) in written.iter_mut().enumerate() {
                    let held: f64 = k.iter().enumerate().map(|(i, k)| k * memory[i * dv + j]).sum();
                    *w = beta * (*w - held);
                }
            }
            for (line, k) in memory.chunks_mut(dv.max(1)).zip(k) {
                line.iter_mut().zip(&written).for_each(|(m, w)| *m += k * w);
            }
            for qhead in head * group..(head + 1) * group {
                let q = &q[(row * qh + qhead) * dk..][..dk];
                let y = &mut out[(row * qh + qhead) * dv..][..dv];
                for (line, q) in memory.chunks(dv.max(1)).zip(q) {
                    y.iter_mut().zip(line).for_each(|(y, m)| *y += scale * q * m);
                }
            }
        }
    }
    let kept = at(3).map_or(query.dtype(), |s| s.dtype());
    Ok(vec![narrow(query.dtype(), &out_shape, out)?, narrow(kept, &state_shape, state)?])
}
