//! Compress: the slices of an axis (or the elements, flattened) where a condition holds.

use crate::elementwise::elements;
use crate::indexing::{Cells, Filler, around};
use crate::{AttrDef, AttrKind, OpDef, OpError, Param, TypeSet, normal_axis, operand};

/// The row of Compress.
pub const OP: OpDef = OpDef {
    name: "Compress",
    since: 9,
    types: &[("T", TypeSet::ALL), ("T1", TypeSet::BOOL)],
    inputs: &[Param::req("input", "T"), Param::req("condition", "T1")],
    outputs: &[Param::req("output", "T")],
    attrs: &[AttrDef::optional("axis", AttrKind::Int)],
    infer: |cx| {
        let dtype = cx.dtype(0)?;
        let shape = match (cx.shape(0)?, cx.opt_int("axis")) {
            (_, None) => Some(vec![cx.fresh(0, 0)]),
            (Some(s), Some(axis)) => {
                let axis = normal_axis(axis, s.len())?;
                let mut s = s.to_vec();
                s[axis] = cx.fresh(0, axis);
                Some(s)
            }
            (None, Some(_)) => None,
        };
        cx.set_shape(0, dtype, shape);
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let (x, condition) = (operand(inputs, 0)?, operand(inputs, 1)?);
        let flat = [x.len()];
        let (shape, axis) = match cx.opt_int("axis") {
            Some(axis) => (x.shape(), normal_axis(axis, x.rank())?),
            None => (&flat[..], 0),
        };
        let (outer, extent, inner) = around(shape, axis)?;
        let holds = elements::<bool>(condition)?;
        let kept: Vec<usize> = (0..holds.len()).filter(|i| holds[*i]).collect();
        if kept.last().is_some_and(|i| *i >= extent) {
            return Err(OpError::value(format!("the condition holds past the {extent} elements of the axis")));
        }
        let mut shape = shape.to_vec();
        shape[axis] = kept.len();
        let mut out = Filler::new(cx, x.dtype(), shape)?;
        let cells = Cells::of(x);
        (0..outer).for_each(|o| kept.iter().for_each(|i| out.push_run(&cells, (o * extent + i) * inner, inner)));
        Ok(vec![out.finish()?])
    }),
    ..OpDef::NEW
};
