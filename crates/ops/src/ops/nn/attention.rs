//! Attention: softmax(scale q k' + mask) v per head, with key/value caches, causal and window masks, soft caps and
//! grouped queries. Operands of rank 3 hold heads side by side. A row that masks everything gives zeros.

use crate::floats::{narrow, widen};
use crate::{AttrDef, AttrKind, EvalCx, InferCx, LowerCx, Lowered, OpDef, OpError, Param, TypeSet, operand};
use planc_kir::Kernel;
use planc_tensor::{DType, Dim, Tensor, View, broadcast_strides};

/// The row of Attention.
pub const OP: OpDef = OpDef {
    name: "Attention",
    since: 23,
    types: &[
        ("T1", TypeSet::FLOAT),
        ("T2", TypeSet::FLOAT),
        ("U", TypeSet::NUMERIC.or(TypeSet::BOOL)),
        ("I", TypeSet::I64),
    ],
    inputs: &[
        Param::req("Q", "T1"),
        Param::req("K", "T1"),
        Param::req("V", "T2"),
        Param::opt("attn_mask", "U"),
        Param::opt("past_key", "T1"),
        Param::opt("past_value", "T2"),
        Param::opt("nonpad_kv_seqlen", "I"),
    ],
    outputs: &[
        Param::req("Y", "T1"),
        Param::opt("present_key", "T1"),
        Param::opt("present_value", "T2"),
        Param::opt("qk_matmul_output", "T1"),
    ],
    attrs: &[
        AttrDef::int("is_causal", 0),
        AttrDef::optional("kv_num_heads", AttrKind::Int),
        AttrDef::int("left_window_size", -1).since(25),
        AttrDef::optional("q_num_heads", AttrKind::Int),
        AttrDef::int("qk_matmul_output_mode", 0),
        AttrDef::int("right_window_size", -1).since(25),
        AttrDef::optional("scale", AttrKind::Float),
        AttrDef::float("softcap", 0.0),
        AttrDef::optional("softmax_precision", AttrKind::Int),
    ],
    infer,
    eval: Some(eval),
    lower,
    ..OpDef::NEW
};

/// `[batch, heads, length, width]` of an operand of rank 3 (with `heads`) or 4.
fn split(shape: &[Dim], heads: Option<i64>, what: &str) -> Result<[Dim; 4], OpError> {
    match shape {
        [b, h, s, d] => Ok([b.clone(), h.clone(), s.clone(), d.clone()]),
        [b, s, hidden] => {
            let heads = heads.filter(|h| *h > 0 && *h < 1 << 31);
            let heads = heads.ok_or_else(|| OpError::attribute(format!("the number of heads of {what} is missing")))?;
            if hidden.as_const().is_some_and(|d| d % heads != 0) {
                return Err(OpError::shape(format!("{hidden} elements of {what} do not divide into {heads} heads")));
            }
            let h = Dim::from(heads);
            Ok([b.clone(), h.clone(), s.clone(), hidden.floor_div(&h)])
        }
        _ => Err(OpError::shape(format!("{what} has rank {}, not 3 or 4", shape.len()))),
    }
}

fn infer(cx: &mut InferCx<'_>) -> Result<(), OpError> {
    let (t, u) = (cx.dtype(0)?, cx.dtype(2)?);
    let mode = cx.int("qk_matmul_output_mode");
    if !(0..=3).contains(&mode) {
        return Err(OpError::attribute(format!("qk_matmul_output_mode is {mode}")));
    }
    if cx.has(4) != cx.has(5) {
        return Err(OpError::arity("past_key and past_value come together"));
    }
    let (Some(q), Some(k), Some(v)) = (cx.shape(0)?, cx.shape(1)?, cx.shape(2)?) else {
        [(0, t), (1, t), (2, u), (3, t)].into_iter().for_each(|(i, d)| cx.set_shape(i, d, None));
        return Ok(());
    };
    if q.len() != k.len() || k.len() != v.len() {
        return Err(OpError::shape("Q, K and V differ in rank"));
    }
    let (q_heads, kv_heads) = (cx.opt_int("q_num_heads"), cx.opt_int("kv_num_heads"));
    let [b, hq, s, d] = split(q, q_heads, "Q")?;
    let [kb, hk, len, dk] = split(k, kv_heads, "K")?;
    let [vb, hv, vlen, dv] = split(v, kv_heads, "V")?;
    for (x, y, what) in [
        (&b, &kb, "batch extents differ"),
        (&b, &vb, "batch extents differ"),
        (&d, &dk, "queries and keys differ in width"),
        (&hk, &hv, "keys and values differ in heads"),
        (&len, &vlen, "keys and values differ in length"),
    ] {
        crate::convolve::agree(x, y, what)?;
    }
    if let (Some(hq), Some(hk)) = (hq.as_const(), hk.as_const())
        && (hk == 0 || hq % hk != 0)
    {
        return Err(OpError::shape(format!("{hq} query heads do not divide among {hk}")));
    }
    let past = match if cx.has(4) { cx.shape(4)? } else { Some(&[][..]) } {
        Some([_, _, p, _]) => p.clone(),
        Some([]) => Dim::from(0i64),
        Some(p) => return Err(OpError::shape(format!("past_key has rank {}, not 4", p.len()))),
        None => cx.fresh(1, 2),
    };
    let total = past + len;
    let y = if q.len() == 3 {
        vec![b.clone(), s.clone(), hq.clone() * dv.clone()]
    } else {
        vec![b.clone(), hq.clone(), s.clone(), dv.clone()]
    };
    cx.set_tensor(0, t, y);
    cx.set_tensor(1, t, vec![b.clone(), hk.clone(), total.clone(), d]);
    cx.set_tensor(2, u, vec![b.clone(), hk, total.clone(), dv]);
    cx.set_tensor(3, t, vec![b, hq, s, total]);
    Ok(())
}

/// An operand as `[batch, heads, length, width]`.
struct Heads {
    shape: [usize; 4],
    data: Vec<f64>,
}

impl Heads {
    fn new(x: View<'_>, heads: Option<i64>, what: &str) -> Result<Heads, OpError> {
        let dims: Vec<Dim> = x.shape().iter().map(|d| Dim::from(*d)).collect();
        let [b, h, s, d] = split(&dims, heads, what)?.map(|d| d.as_usize().unwrap_or(0));
        let data = widen(x)?;
        if x.rank() == 4 {
            return Ok(Heads { shape: [b, h, s, d], data });
        }
        let mut turned = Vec::with_capacity(data.len());
        for n in 0..b {
            for head in 0..h {
                (0..s).for_each(|i| turned.extend_from_slice(&data[((n * s + i) * h + head) * d..][..d]));
            }
        }
        Ok(Heads { shape: [b, h, s, d], data: turned })
    }

    /// `past` followed by these along the length.
    fn after(self, past: Option<View<'_>>) -> Result<Heads, OpError> {
        let Some(past) = past else { return Ok(self) };
        let [b, h, s, d] = self.shape;
        let old = match past.shape() {
            [pb, ph, p, pd] if [*pb, *ph, *pd] == [b, h, d] => *p,
            other => return Err(OpError::shape(format!("a cache of {other:?} does not fit {:?}", self.shape))),
        };
        let before = widen(past)?;
        let mut data = Vec::with_capacity(before.len() + self.data.len());
        for i in 0..b * h {
            data.extend_from_slice(&before[i * old * d..(i + 1) * old * d]);
            data.extend_from_slice(&self.data[i * s * d..(i + 1) * s * d]);
        }
        Ok(Heads { shape: [b, h, old + s, d], data })
    }

    fn row(&self, b: usize, h: usize, i: usize) -> &[f64] {
        let [_, heads, s, d] = self.shape;
        &self.data[((b * heads + h) * s + i) * d..][..d]
    }
}

fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>]) -> Result<Vec<Tensor>, OpError> {
    let at = |i: usize| inputs.get(i).copied().flatten();
    let (qv, kv, vv) = (operand(inputs, 0)?, operand(inputs, 1)?, operand(inputs, 2)?);
    let (q_heads, kv_heads) = (cx.opt_int("q_num_heads"), cx.opt_int("kv_num_heads"));
    let q = Heads::new(qv, q_heads, "Q")?;
    let k = Heads::new(kv, kv_heads, "K")?.after(at(4))?;
    let v = Heads::new(vv, kv_heads, "V")?.after(at(5))?;
    let ([b, hq, s, d], [kb, hk, t, dk], [vb, hv, vt, dv]) = (q.shape, k.shape, v.shape);
    if [kb, vb, dk, hv, vt] != [b, b, d, hk, t] || hk == 0 || !hq.is_multiple_of(hk) {
        return Err(OpError::shape(format!("{:?}, {:?} and {:?} do not attend", q.shape, k.shape, v.shape)));
    }
    let lengths = at(6).and_then(|n| n.to_i64());
    if lengths.as_ref().is_some_and(|l| l.len() != b) {
        return Err(OpError::shape("nonpad_kv_seqlen does not have one element per batch"));
    }
    let mask = at(3).map(|m| Mask::new(m, [b, hq, s, t])).transpose()?;
    cx.reserve(DType::F64, &[b, hq, s, t.max(dv)])?;
    let scale = cx.opt_float("scale").map_or_else(|| 1.0 / (d as f64).sqrt(), f64::from);
    let (cap, mode) = (f64::from(cx.float("softcap")), cx.int("qk_matmul_output_mode"));
    let (causal, left, right) = (cx.flag("is_causal"), cx.int("left_window_size"), cx.int("right_window_size"));
    let past = at(4).map_or(0, |p| p.shape().get(2).copied().unwrap_or(0)) as i64;
    let mut y = vec![0.0; b * hq * s * dv];
    let mut scores = Vec::with_capacity(if cx.output_count() > 3 { b * hq * s * t } else { 0 });
    for n in 0..b {
        let valid = lengths.as_ref().map_or(i64::MAX, |l| l[n]);
        let offset = if at(4).is_none() && lengths.is_some() { valid - s as i64 } else { past };
        for h in 0..hq {
            let kv_head = h / (hq / hk);
            for i in 0..s {
                let query = q.row(n, h, i);
                let position = i as i64 + offset;
                let raw: Vec<f64> = (0..t)
                    .map(|j| scale * k.row(n, kv_head, j).iter().zip(query).map(|(a, b)| a * b).sum::<f64>())
                    .collect();
                let capped: Vec<f64> =
                    raw.iter().map(|v| if cap > 0.0 { cap * (v / cap).tanh() } else { *v }).collect();
                let bias: Vec<f64> = (0..t)
                    .map(|j| {
                        let key = j as i64;
                        let blocked = (causal && key > position)
                            || (left >= 0 && key < position.saturating_sub(left))
                            || (right >= 0 && key > position.saturating_add(right))
                            || key >= valid;
                        let bias = mask.as_ref().map_or(0.0, |m| m.at(n, h, i, j));
                        if blocked { f64::NEG_INFINITY } else { bias }
                    })
                    .collect();
                let biased: Vec<f64> = capped.iter().zip(&bias).map(|(v, b)| v + b).collect();
                let weights = softmax(&biased, &bias);
                if cx.output_count() > 3 {
                    scores.extend(match mode {
                        0 => raw,
                        1 => capped,
                        2 => biased,
                        _ => weights.clone(),
                    });
                }
                let row = if qv.rank() == 3 { (n * s + i) * hq + h } else { (n * hq + h) * s + i };
                let out = &mut y[row * dv..][..dv];
                for (j, w) in weights.iter().enumerate().filter(|(_, w)| **w != 0.0) {
                    out.iter_mut().zip(v.row(n, kv_head, j)).for_each(|(o, v)| *o += w * v);
                }
            }
        }
    }
    let shape = if qv.rank() == 3 { vec![b, s, hq * dv] } else { vec![b, hq, s, dv] };
    let mut results = vec![narrow(qv.dtype(), &shape, y)?];
    if cx.output_count() > 1 {
        results.push(narrow(kv.dtype(), &k.shape, k.data)?);
        results.push(narrow(vv.dtype(), &v.shape, v.data)?);
    }
    if cx.output_count() > 3 {
        results.push(narrow(qv.dtype(), &[b, hq, s, t], scores)?);
    }
    Ok(results)
}

/// Weights of `scores`; all zero where `bias` masks everything.
fn softmax(scores: &[f64], bias: &[f64]) -> Vec<f64> {
    if bias.iter().all(|b| *b == f64::NEG_INFINITY) {
        return vec![0.0; scores.len()];
    }
    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let e: Vec<f64> = scores.iter().map(|v| (v - most).exp()).collect();
    let sum: f64 = e.iter().sum();
    e.into_iter().map(|v| v / sum).collect()
}

/// A mask as numbers to add, broadcast to `[batch, heads, queries, keys]`; keys past its end are masked.
struct Mask {
    data: Vec<f64>,
    strides: [usize; 4],
    keys: usize,
}

impl Mask {
    fn new(m: View<'_>, to: [usize; 4]) -> Result<Mask, OpError> {
        let keys = m.shape().last().copied().unwrap_or(1);
        let mut target = to;
        // A single column broadcasts only where there is a single key.
        target[3] = keys.min(to[3]);
        let misfit = || OpError::shape(format!("a mask of {:?} does not fit {to:?}", m.shape()));
        if m.rank() > 4 || keys > to[3] || planc_tensor::broadcast(m.shape(), &target).as_deref() != Some(&target[..]) {
            return Err(misfit());
        }
        let mut data = widen(m)?;
        if m.dtype() == DType::Bool {
            data.iter_mut().for_each(|v| *v = if *v != 0.0 { 0.0 } else { f64::NEG_INFINITY });
        }
        let strides = broadcast_strides(m.shape(), &target).try_into().map_err(|_| misfit())?;
        Ok(Mask { data, strides, keys })
    }

    fn at(&self, n: usize, h: usize, i: usize, j: usize) -> f64 {
        let [a, b, c, d] = self.strides;
        if j < self.keys { self.data[n * a + h * b + i * c + j * d] } else { f64::NEG_INFINITY }
    }
}

/// The kernel does plain heads: rank 4, no cache, an additive mask of all keys, only the first result.
fn lower(cx: &LowerCx<'_>) -> Lowered {
    let plain = || {
        let (q, k) = (cx.shape(0).ok()??, cx.shape(1).ok()??);
        let extra = (4..7).any(|i| cx.has(i)) || (1..4).any(|i| cx.output(i).is_ok());
        let windows = cx.int("left_window_size") >= 0 || cx.int("right_window_size") >= 0;
        if q.len() != 4 || k.len() != 4 || extra || windows || cx.float("softcap") != 0.0 {
            return None;
        }
        if cx.has(3) {
            let mask = cx.tensor(3).ok()?;
            (mask.dtype == cx.dtype(0).ok()? && mask.shape.as_ref()?.last()? == &k[2]).then_some(())?;
        }
        let causal = cx.flag("is_causal");
        // Without a cache the operator's frontier starts at the first key, the kernel's at the last.
        if causal && q[2] != k[2] {
            return None;
        }
        let scale = cx.opt_float("scale").or_else(|| Some(1.0 / (q[3].as_usize()? as f32).sqrt()))?;
        Some(planc_kir::Attention { scale, causal })
    };
    plain().map_or(Lowered::Reference, |a| Lowered::kernel(Kernel::Attention(a), cx.input_count().min(4)))
}
