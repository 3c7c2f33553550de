//! GatherElements: out[i] = data[i with `axis` replaced by indices[i]].

use super::scatter::places;
use crate::indexing::{Cells, Filler};
use crate::{AttrDef, Lowered, OpDef, OpError, Param, TypeSet, normal_axis, operand};
use planc_kir::Kernel;

/// The row of GatherElements.
pub const OP: OpDef = OpDef {
    name: "GatherElements",
    since: 11,
    types: &[("T", TypeSet::ALL), ("Tind", TypeSet::INDEX)],
    inputs: &[Param::req("data", "T"), Param::req("indices", "Tind")],
    outputs: &[Param::req("output", "T")],
    attrs: &[AttrDef::int("axis", 0)],
    infer: |cx| {
        let (data, indices) = (cx.shape(0)?, cx.shape(1)?);
        if let Some(rank) = data.or(indices).map(<[_]>::len) {
            cx.axis("axis", rank)?;
            if indices.is_some_and(|i| i.len() != rank) {
                return Err(OpError::shape("data and indices differ in rank"));
            }
        }
        cx.set_shape(0, cx.dtype(0)?, indices.map(<[_]>::to_vec));
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let (x, indices) = (operand(inputs, 0)?, operand(inputs, 1)?);
        let axis = normal_axis(cx.int("axis"), x.rank())?;
        let mut out = Filler::new(cx, x.dtype(), indices.shape().to_vec())?;
        let cells = Cells::of(x);
        places(x.shape(), indices, axis)?.into_iter().for_each(|p| out.push_run(&cells, p, 1));
        Ok(vec![out.finish()?])
    }),
    lower: |cx| match cx.shape(0).ok().flatten().map(|d| cx.axis("axis", d.len())) {
        Some(Ok(axis)) => Lowered::kernel(Kernel::GatherElements { axis }, 2),
        _ => Lowered::Reference,
    },
    ..OpDef::NEW
};
