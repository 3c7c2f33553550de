//! LpNormalization: elements over the 1- or 2-norm along an axis; zero where the norm is.

use crate::floats::{narrow, widen};
use crate::{AttrDef, InferCx, OpDef, OpError, Param, TypeSet, normal_axis, operand};

/// The row of LpNormalization.
pub const OP: OpDef = OpDef {
    name: "LpNormalization",
    types: &[("T", TypeSet::FLOAT)],
    inputs: &[Param::req("input", "T")],
    outputs: &[Param::req("output", "T")],
    attrs: &[AttrDef::int("axis", -1), AttrDef::int("p", 2)],
    infer: |cx: &mut InferCx<'_>| {
        let ty = cx.tensor(0)?.clone();
        if !matches!(cx.int("p"), 1 | 2) {
            return Err(OpError::attribute(format!("p is {}, not 1 or 2", cx.int("p"))));
        }
        ty.rank().map(|r| cx.axis("axis", r)).transpose()?;
        cx.set(0, ty);
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let x = operand(inputs, 0)?;
        let axis = normal_axis(cx.int("axis"), x.rank())?;
        let (n, inner): (usize, usize) = (x.shape()[axis], x.shape()[axis + 1..].iter().product());
        let mut v = widen(x)?;
        if !v.is_empty() {
            for part in v.chunks_mut(n * inner) {
                for i in 0..inner {
                    let along = (0..n).map(|k| part[k * inner + i].abs());
                    let norm = if cx.int("p") == 1 { along.sum() } else { along.map(|v| v * v).sum::<f64>().sqrt() };
                    (0..n).for_each(|k| part[k * inner + i] /= if norm == 0.0 { f64::INFINITY } else { norm });
                }
            }
        }
        Ok::<_, OpError>(vec![narrow(x.dtype(), x.shape(), v)?])
    }),
    ..OpDef::NEW
};
