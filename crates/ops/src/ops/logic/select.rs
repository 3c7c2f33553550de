//! Where: x where the condition holds, else y; all broadcast together.

use crate::elementwise::{common_shape, elements, for_each_offset, infer_broadcast_as, lower_map};
use crate::{EvalCx, OpDef, OpError, Param, Props, TypeSet, known, operand};
use planc_tensor::{DType, Dim, Tensor, View};

/// The row of Where.
pub const OP: OpDef = OpDef {
    name: "Where",
    since: 9,
    types: &[("B", TypeSet::BOOL), ("T", TypeSet::ALL)],
    inputs: &[Param::req("condition", "B"), Param::req("X", "T"), Param::req("Y", "T")],
    outputs: &[Param::req("output", "T")],
    props: Props::ELEMENTWISE,
    infer: |cx| {
        let dtype = cx.dtype(1)?;
        infer_broadcast_as(cx, dtype)?;
        if let (Some(c), Some(x), Some(y)) = (cx.known(0), cx.known(1), cx.known(2)) {
            // -1: the condition does not matter; 0 and 1: it decides.
            let same = known::zip(&x, &y, |x, y| Some(Dim::from(if x == y { -1i64 } else { 0 })));
            let chosen = same.and_then(|same| {
                known::zip(&c, &same, |c, s| {
                    if s.as_const() == Some(-1) { Some(Dim::from(1i64)) } else { c.as_const().map(Dim::from) }
                })
            });
            let known = chosen.and_then(|c| choose(&c, &x, &y));
            cx.set_known(0, known);
        }
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let (c, x, y) = (operand(inputs, 0)?, operand(inputs, 1)?, operand(inputs, 2)?);
        let shape = common_shape(&[c, x, y])?;
        if x.dtype() == DType::String {
            cx.reserve(DType::String, &shape)?;
            let out = pick(&shape, c, (x, x.as_strings()), (y, y.as_strings()))?;
            return Ok(vec![Tensor::from_strings(shape, out)?]);
        }
        Ok(vec![crate::dispatch_all!(x.dtype(), T => numbers::<T>(cx, shape, c, x, y),
            Err(OpError::type_(format!("does not take {}", x.dtype()))))?])
    }),
    lower: |cx| {
        lower_map(cx, |b, x| match *x {
            [c, x, y] => Some(b.select(c, x, y)),
            _ => None,
        })
    },
    ..OpDef::NEW
};

/// The elements that constant conditions choose.
fn choose(c: &[Dim], x: &[Dim], y: &[Dim]) -> Option<Vec<Dim>> {
    let n = [c.len(), x.len(), y.len()].into_iter().find(|n| *n != 1).unwrap_or(1);
    let at = |v: &[Dim], i: usize| v.get(if v.len() == 1 { 0 } else { i }).cloned();
    (0..n).map(|i| if at(c, i)?.as_const()? != 0 { at(x, i) } else { at(y, i) }).collect()
}

fn numbers<T: planc_tensor::Element>(
    cx: &EvalCx<'_>,
    shape: Vec<usize>,
    c: View<'_>,
    x: View<'_>,
    y: View<'_>,
) -> Result<Tensor, OpError> {
    cx.reserve(T::DTYPE, &shape)?;
    let out = pick(&shape, c, (x, &elements::<T>(x)?), (y, &elements::<T>(y)?))?;
    Ok(Tensor::new(shape, out)?)
}

/// The elements of a result of `shape`.
fn pick<T: Clone>(shape: &[usize], c: View<'_>, x: (View<'_>, &[T]), y: (View<'_>, &[T])) -> Result<Vec<T>, OpError> {
    let conditions = elements::<bool>(c)?;
    let mut choice = Vec::new();
    for_each_offset(c.shape(), shape, |i| choice.push(conditions[i]));
    // The offsets into x where it is chosen, then all of y with x in those places.
    let mut at = Vec::with_capacity(choice.len());
    for_each_offset(x.0.shape(), shape, |i| at.push(i));
    let mut out = Vec::with_capacity(choice.len());
    for_each_offset(y.0.shape(), shape, |j| {
        let i = out.len();
        out.push(if choice[i] { x.1[at[i]].clone() } else { y.1[j].clone() });
    });
    Ok(out)
}
