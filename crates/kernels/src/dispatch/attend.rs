//! Scaled dot-product attention over `[B, H, S, D]` operands.

use super::{Cx, Operand, Output};
use crate::attention::{Attention as Sizes, HeadStrides, Mask, attention, attention_scratch};
use planc_kir::Attention;
use planc_tensor::broadcast_strides;

/// `[q, k, v, mask?] -> [out]`.
pub(super) fn run(
    cx: &mut Cx<'_>,
    spec: &Attention,
    inputs: &[Option<Operand<'_>>],
    y: &mut Output<'_>,
) -> Result<(), String> {
    let operand = |i: usize| inputs.get(i).copied().flatten();
    let (Some(q), Some(k), Some(v)) = (operand(0), operand(1), operand(2)) else {
        return Err("an operand is missing".into());
    };
    let wrong = || format!("no attention of {:?}, {:?} and {:?} to {:?}", q.shape, k.shape, v.shape, y.shape);
    let (&[b, h, s, d], &[kb, hk, t, kd], &[vb, hv, vt, e]) = (q.shape, k.shape, v.shape) else { return Err(wrong()) };
    let fits = (kb, vb, kd, hv, vt) == (b, b, d, hk, t) && y.shape == [b, h, s, e] && hk > 0 && h.is_multiple_of(hk);
    if !fits {
        return Err(wrong());
    }
    let strides = |heads: usize, rows: usize, n: usize| HeadStrides { batch: heads * rows * n, head: rows * n, row: n };
    let sizes = Sizes {
        batch: b,
        heads: h,
        kv_heads: hk,
        queries: s,
        keys: t,
        dim: d,
        value_dim: e,
        scale: spec.scale,
        causal: match (spec.causal, t.checked_sub(s)) {
            (false, _) => None,
            (true, Some(past)) => Some(past),
            (true, None) => return Err("more queries than keys under a causal mask".into()),
        },
        strides: [strides(h, s, d), strides(hk, t, d), strides(hk, t, e), strides(h, s, e)],
    };
    let mask = match operand(3) {
        Some(m) => {
            let full = [b, h, s, t];
            let lead = full.len().checked_sub(m.shape.len());
            let fits = lead.is_some_and(|l| m.shape.iter().zip(&full[l..]).all(|(a, b)| a == b || *a == 1));
            if !fits {
                return Err(format!("a mask {:?} does not broadcast to {full:?}", m.shape));
            }
            let st = broadcast_strides(m.shape, &full);
            let strides = HeadStrides { batch: st[0], head: st[1], row: st[2] };
            Some(Mask { data: m.elements()?, strides, key: st[3] })
        }
        None => None,
    };
    let scratch = cx.scratch.floats(attention_scratch(&sizes, cx.par));
    let (q, k, v) = (q.elements()?, k.elements()?, v.elements()?);
    attention(cx.isa, cx.par, &sizes, q, k, v, mask, y.elements()?, scratch);
    Ok(())
}
