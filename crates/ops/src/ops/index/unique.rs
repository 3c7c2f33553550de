//! Unique: each different slice of an axis (or element, flattened) once, sorted or by first occurrence; where it was
//! first, which one each slice is, and how often it occurs.

use super::order::Keys;
use crate::elementwise::only;
use crate::indexing::{Cells, Filler, around};
use crate::{AttrDef, AttrKind, EvalCx, OpDef, OpError, Param, TypeSet, normal_axis};
use planc_tensor::{DType, Tensor, View};
use std::cmp::Ordering;

/// The row of Unique.
pub const OP: OpDef = OpDef {
    name: "Unique",
    since: 11,
    types: &[("T", TypeSet::ALL), ("tensor(int64)", TypeSet::I64)],
    inputs: &[Param::req("X", "T")],
    outputs: &[
        Param::req("Y", "T"),
        Param::opt("indices", "tensor(int64)"),
        Param::opt("inverse_indices", "tensor(int64)"),
        Param::opt("counts", "tensor(int64)"),
    ],
    attrs: &[AttrDef::optional("axis", AttrKind::Int), AttrDef::int("sorted", 1)],
    infer: |cx| {
        let dtype = cx.dtype(0)?;
        let axis = match (cx.opt_int("axis"), cx.shape(0)?) {
            (Some(axis), Some(s)) => normal_axis(axis, s.len())?,
            _ => 0,
        };
        let count = cx.fresh(0, axis);
        let (shape, all) = match (cx.opt_int("axis"), cx.shape(0)?) {
            (None, s) => (Some(vec![count.clone()]), s.map_or_else(|| cx.fresh(2, 0), crate::known::product)),
            (Some(_), Some(s)) => {
                let mut shape = s.to_vec();
                let all = std::mem::replace(&mut shape[axis], count.clone());
                (Some(shape), all)
            }
            (Some(_), None) => (None, cx.fresh(2, 0)),
        };
        cx.set_shape(0, dtype, shape);
        cx.set_tensor(1, DType::I64, vec![count.clone()]);
        cx.set_tensor(2, DType::I64, vec![all]);
        cx.set_tensor(3, DType::I64, vec![count]);
        Ok(())
    },
    eval: Some(|cx, inputs| Ok(unique(cx, only(inputs)?, cx.opt_int("axis"), cx.flag("sorted"))?.into())),
    ..OpDef::NEW
};

/// The row of com.microsoft's Unique: of elements, by first occurrence.
pub const MICROSOFT: OpDef = OpDef {
    name: "Unique",
    domain: "com.microsoft",
    types: &[("T", TypeSet::ALL), ("tensor(int64)", TypeSet::I64)],
    inputs: &[Param::req("x", "T")],
    outputs: &[Param::req("y", "T"), Param::req("idx", "tensor(int64)"), Param::req("counts", "tensor(int64)")],
    infer: |cx| {
        let dtype = cx.dtype(0)?;
        let count = cx.fresh(0, 0);
        let all = cx.shape(0)?.map_or_else(|| cx.fresh(1, 0), crate::known::product);
        cx.set_tensor(0, dtype, vec![count.clone()]);
        cx.set_tensor(1, DType::I64, vec![all]);
        cx.set_tensor(2, DType::I64, vec![count]);
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let [y, _, inverse, counts] = unique(cx, only(inputs)?, None, false)?;
        Ok(vec![y, inverse, counts])
    }),
    ..OpDef::NEW
};

/// The different slices, where each was first, which one each slice is, how often each occurs.
fn unique(cx: &EvalCx<'_>, x: View<'_>, axis: Option<i64>, sorted: bool) -> Result<[Tensor; 4], OpError> {
    let flat = [x.len()];
    let (shape, axis) = match axis {
        Some(axis) => (x.shape(), normal_axis(axis, x.rank())?),
        None => (&flat[..], 0),
    };
    let (outer, extent, inner) = around(shape, axis)?;
    let keys = Keys::of(x)?;
    let at = |slice: usize, o: usize, i: usize| (o * extent + slice) * inner + i;
    let places = || (0..outer).flat_map(|o| (0..inner).map(move |i| (o, i)));
    let compare = |a: usize, b: usize| {
        let mut parts = places().map(|(o, i)| keys.compare(at(a, o, i), at(b, o, i)));
        parts.find(|c| *c != Ordering::Equal).unwrap_or(Ordering::Equal)
    };
    // NaN equals nothing: each one stays.
    let same =
        |a: usize, b: usize| compare(a, b) == Ordering::Equal && !places().any(|(o, i)| keys.is_nan(at(a, o, i)));
    let mut order: Vec<usize> = (0..extent).collect();
    order.sort_by(|a, b| compare(*a, *b));
    let mut groups: Vec<(usize, i64)> = Vec::new();
    let mut group_of = vec![0usize; extent];
    for (n, slice) in order.iter().enumerate() {
        match groups.last_mut() {
            Some((_, count)) if same(order[n - 1], *slice) => *count += 1,
            _ => groups.push((*slice, 1)),
        }
        group_of[*slice] = groups.len() - 1;
    }
    let mut ranked: Vec<usize> = (0..groups.len()).collect();
    if !sorted {
        ranked.sort_by_key(|g| groups[*g].0);
    }
    let mut rank_of = vec![0i64; groups.len()];
    ranked.iter().enumerate().for_each(|(rank, g)| rank_of[*g] = rank as i64);
    let mut out_shape = shape.to_vec();
    out_shape[axis] = groups.len();
    let mut out = Filler::new(cx, x.dtype(), out_shape)?;
    let cells = Cells::of(x);
    for o in 0..outer {
        ranked.iter().for_each(|g| out.push_run(&cells, at(groups[*g].0, o, 0), inner));
    }
    Ok([
        out.finish()?,
        Tensor::vector(ranked.iter().map(|g| groups[*g].0 as i64).collect()),
        Tensor::vector(group_of.iter().map(|g| rank_of[*g]).collect()),
        Tensor::vector(ranked.iter().map(|g| groups[*g].1).collect()),
    ])
}
