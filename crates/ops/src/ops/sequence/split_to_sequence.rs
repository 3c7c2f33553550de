//! SplitToSequence: a tensor cut along an axis: into parts of the extents that `split` lists, into parts of one extent
//! (the last may be shorter), or without `split` into single slices, whose axis `keepdims = 0` removes.

use crate::indexing::{by_axis, integers, strides};
use crate::sequences::packed;
use crate::{AttrDef, EvalCx, InferCx, OpDef, OpError, Param, TypeSet, normal_axis, operand};
use planc_ir::{TensorType, Type};
use planc_tensor::{Dim, Tensor, View};

/// The row of SplitToSequence.
pub const OP: OpDef = OpDef {
    name: "SplitToSequence",
    since: 11,
    types: &[("T", TypeSet::ALL), ("I", TypeSet::INDEX), ("S", TypeSet::ALL)],
    inputs: &[Param::req("input", "T"), Param::opt("split", "I")],
    outputs: &[Param::req("output_sequence", "S")],
    attrs: &[AttrDef::int("axis", 0), AttrDef::int("keepdims", 1)],
    infer,
    eval: Some(eval),
    ..OpDef::NEW
};

fn infer(cx: &mut InferCx<'_>) -> Result<(), OpError> {
    let ty = cx.tensor(0)?.clone();
    let shape = match ty.shape {
        Some(mut s) => {
            let axis = cx.axis("axis", s.len())?;
            match (cx.has(1), cx.flag("keepdims")) {
                (true, _) => s[axis] = cx.fresh(0, axis),
                (false, true) => s[axis] = Dim::from(1i64),
                (false, false) => drop(s.remove(axis)),
            }
            Some(s)
        }
        None => None,
    };
    cx.set(0, Type::Sequence(Box::new(Type::Tensor(TensorType { shape, ..ty }))));
    Ok(())
}

fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>]) -> Result<Vec<Tensor>, OpError> {
    let x = operand(inputs, 0)?;
    let axis = normal_axis(cx.int("axis"), x.rank())?;
    let extent = x.shape()[axis];
    let split = inputs.get(1).copied().flatten();
    let parts: Vec<usize> = match split {
        None => vec![1; extent],
        Some(s) if s.rank() == 0 => {
            let size = integers(s)?.first().and_then(|n| usize::try_from(*n).ok()).filter(|n| *n > 0);
            let size = size.ok_or_else(|| OpError::value("split is not positive"))?;
            (0..extent.div_ceil(size)).map(|i| size.min(extent - i * size)).collect()
        }
        Some(s) => {
            let parts: Option<Vec<usize>> = integers(s)?.into_iter().map(|n| usize::try_from(n).ok()).collect();
            let parts = parts.ok_or_else(|| OpError::value("split has a negative"))?;
            if parts.iter().try_fold(0usize, |a, b| a.checked_add(*b)) != Some(extent) {
                return Err(OpError::value(format!("split {parts:?} does not add up to {extent}")));
            }
            parts
        }
    };
    let strides = strides(x.shape());
    let mut list = Vec::with_capacity(parts.len());
    let mut start = 0;
    for n in parts {
        let mut shape = x.shape().to_vec();
        shape[axis] = n;
        let at = |a: usize, i: usize| (i + if a == axis { start } else { 0 }) * strides[a];
        let part = by_axis(cx, x, shape.clone(), None, at)?;
        start += n;
        list.push(if split.is_none() && !cx.flag("keepdims") {
            shape.remove(axis);
            part.reshaped(shape)?
        } else {
            part
        });
    }
    Ok(packed(list))
}
