//! RotaryEmbedding: rotates pairs of each head's elements by angles that depend on the position.

use crate::elementwise::infer_same;
use crate::floats::{narrow, widen};
use crate::{AttrDef, AttrKind, EvalCx, InferCx, OpDef, OpError, Param, TypeSet, operand};
use planc_tensor::{DType, Tensor, View};

/// The row of RotaryEmbedding.
pub const OP: OpDef = OpDef {
    name: "RotaryEmbedding",
    since: 23,
    types: &[("T", TypeSet::of(&[DType::F32, DType::F16, DType::BF16])), ("M", TypeSet::I64)],
    inputs: &[
        Param::req("X", "T"),
        Param::req("cos_cache", "T"),
        Param::req("sin_cache", "T"),
        Param::opt("position_ids", "M"),
    ],
    outputs: &[Param::req("Y", "T")],
    attrs: &[
        AttrDef::int("interleaved", 0),
        AttrDef::optional("num_heads", AttrKind::Int),
        AttrDef::int("rotary_embedding_dim", 0),
    ],
    infer: |cx: &mut InferCx<'_>| match cx.shape(0)? {
        Some(s) if s.len() != 3 && s.len() != 4 => Err(OpError::shape(format!("X has rank {}, not 3 or 4", s.len()))),
        Some(s) if s.len() == 3 && cx.int("num_heads") < 1 => Err(OpError::attribute("num_heads is missing")),
        _ => infer_same(cx),
    },
    eval: Some(eval),
    ..OpDef::NEW
};

fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>]) -> Result<Vec<Tensor>, OpError> {
    let (x, cos, sin) = (operand(inputs, 0)?, operand(inputs, 1)?, operand(inputs, 2)?);
    let count = usize::try_from(cx.int("num_heads")).unwrap_or(0);
    // Extents, and the strides of batch, position and head.
    let (batch, length, heads, width, strides) = match x.shape() {
        [b, h, s, d] => (*b, *s, *h, *d, [h * s * d, *d, s * d]),
        [b, s, hidden] if count > 0 && hidden % count == 0 => {
            let d = hidden / count;
            (*b, *s, count, d, [s * hidden, *hidden, d])
        }
        s => return Err(OpError::shape(format!("X of {s:?} does not divide into {count} heads"))),
    };
    let rotated = match cx.int("rotary_embedding_dim") {
        0 => width,
        n => usize::try_from(n).map_err(|_| OpError::attribute(format!("rotary_embedding_dim is {n}")))?,
    };
    let half = rotated / 2;
    // Caches may be wider than what is rotated: the first elements count.
    let cached = cos.shape().last().copied().unwrap_or(0);
    let rows = cos.len().checked_div(cached).unwrap_or(0);
    if rotated > width || rotated % 2 != 0 || cos.shape() != sin.shape() || cached < half {
        return Err(OpError::shape(format!("caches of {:?} do not fit {rotated} of {width} elements", cos.shape())));
    }
    let (cos, sin) = (widen(cos)?, widen(sin)?);
    let positions = inputs.get(3).copied().flatten().and_then(|p| p.to_i64());
    let mut y = widen(x)?;
    for b in 0..batch {
        for s in 0..length {
            let at = b * length + s;
            let row = match &positions {
                Some(p) => p.get(at).and_then(|p| usize::try_from(*p).ok()),
                None => Some(at),
            };
            let row = row.filter(|r| *r < rows);
            let row =
                row.ok_or_else(|| OpError::value(format!("no position {s} of batch {b} in the caches")))? * cached;
            for h in 0..heads {
                let base = b * strides[0] + s * strides[1] + h * strides[2];
                for i in 0..half {
                    let (i1, i2) = if cx.flag("interleaved") { (2 * i, 2 * i + 1) } else { (i, half + i) };
                    let (x1, x2) = (y[base + i1], y[base + i2]);
                    let (c, s) = (cos[row + i], sin[row + i]);
                    y[base + i1] = c * x1 - s * x2;
                    y[base + i2] = s * x1 + c * x2;
                }
            }
        }
    }
    Ok(vec![narrow(x.dtype(), x.shape(), y)?])
}
