//! Tile: the operand repeated along its axes.

use crate::indexing::{by_axis, integers, strides};
use crate::{Lowered, OpDef, OpError, Param, TypeSet, Upgrade, known, operand};
use planc_kir::Kernel;
use planc_tensor::{Dim, Tensor};

/// The row of Tile.
pub const OP: OpDef = OpDef {
    name: "Tile",
    types: &[("T", TypeSet::ALL), ("T1", TypeSet::I64)],
    inputs: &[Param::req("input", "T"), Param::req("repeats", "T1")],
    outputs: &[Param::req("output", "T")],
    upgrades: &[Upgrade { to: 6, step: from_tiles }],
    infer: |cx| {
        let (dtype, data) = (cx.dtype(0)?, cx.shape(0)?);
        let repeats = cx.known(1);
        let n = repeats.as_ref().map(Vec::len).or(cx.shape(1)?.and_then(|s| s.first()).and_then(Dim::as_usize));
        let rank = data.map(<[Dim]>::len).or(n.filter(|n| *n <= 64));
        if rank.zip(n).is_some_and(|(r, n)| r != n) {
            return Err(OpError::shape("needs one repeat per axis"));
        }
        if repeats.iter().flatten().any(|r| r.as_const().is_some_and(|r| r < 0)) {
            return Err(OpError::value("a repeat is negative"));
        }
        let extent = |i: usize| match (data, &repeats) {
            (Some(d), Some(r)) => d[i].clone() * r[i].clone(),
            _ => cx.fresh(0, i),
        };
        let shape = rank.map(|r| (0..r).map(extent).collect());
        let times = repeats.as_ref().and_then(|r| r.first()).and_then(Dim::as_usize).filter(|n| *n <= 64);
        let all = cx.known(0).zip(times).map(|(k, n)| vec![k; n].concat());
        cx.set_shape(0, dtype, shape);
        known::set_if_flat(cx, 0, all);
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let x = operand(inputs, 0)?;
        let repeats = integers(operand(inputs, 1)?)?;
        if repeats.len() != x.rank() {
            return Err(OpError::shape("needs one repeat per axis"));
        }
        let extent = |(d, r): (&usize, i64)| {
            let r = usize::try_from(r).map_err(|_| OpError::value("a repeat is negative"))?;
            d.checked_mul(r).ok_or_else(|| OpError::limit("the result is too large"))
        };
        let shape = x.shape().iter().zip(repeats).map(extent).collect::<Result<_, _>>()?;
        let strides = strides(x.shape());
        Ok(vec![by_axis(cx, x, shape, None, |a, i| i % x.shape()[a] * strides[a])?])
    }),
    lower: |cx| {
        let ranked = cx.shape(0).is_ok_and(|s| s.is_some());
        if ranked && cx.known(1).is_some() { Lowered::kernel(Kernel::Tile, 1) } else { Lowered::Reference }
    },
    ..OpDef::NEW
};

/// Opset 1: scalars `tiles` and `axis` instead of `repeats`.
fn from_tiles(cx: &mut crate::UpgradeCx<'_>) -> Result<(), OpError> {
    let scalar = |i: usize| {
        let t = cx.inputs.get(i).copied().flatten().and_then(|v| cx.graph.constant(v))?;
        crate::elementwise::scalar_of(t).map(planc_kir::Num::as_i64)
    };
    let rank = cx.inputs.first().copied().flatten().and_then(|v| cx.graph.tensor_type(v)).and_then(|t| t.rank());
    let (Some(tiles), Some(axis), Some(rank)) = (scalar(1), scalar(2), rank) else {
        return Err(OpError::unsupported("opset 1 Tile with tiles or axis that are not constant"));
    };
    let mut repeats = vec![1i64; rank];
    repeats[crate::normal_axis(axis, rank)?] = tiles;
    cx.inputs.truncate(1);
    cx.const_input("repeats", 1, Tensor::vector(repeats));
    Ok(())
}
