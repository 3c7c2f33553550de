//! Gather: whole slices of an axis, picked by index; the indices' axes take the axis' place.

use crate::indexing::{Cells, Filler, around, index, integers};
use crate::{AttrDef, Lowered, OpDef, Param, TypeSet, known, normal_axis, operand};
use planc_kir::Kernel;

/// The row of Gather.
pub const OP: OpDef = OpDef {
    name: "Gather",
    types: &[("T", TypeSet::ALL), ("Tind", TypeSet::INDEX)],
    inputs: &[Param::req("data", "T"), Param::req("indices", "Tind")],
    outputs: &[Param::req("output", "T")],
    attrs: &[AttrDef::int("axis", 0)],
    infer: |cx| {
        let (dtype, data, indices) = (cx.dtype(0)?, cx.shape(0)?, cx.shape(1)?);
        let axis = data.map(|d| cx.axis("axis", d.len())).transpose()?;
        let shape = match (data, indices, axis) {
            (Some(d), Some(i), Some(axis)) => Some([&d[..axis], i, &d[axis + 1..]].concat()),
            _ => None,
        };
        let flat = data.is_some_and(|d| d.len() == 1);
        let pick = |i: &i64, all: &[planc_tensor::Dim]| all.get(index(*i, all.len()).ok()?).cloned();
        let picked = match (cx.known(0), cx.known_ints(1)) {
            (Some(all), Some(at)) if flat => at.iter().map(|i| pick(i, &all)).collect(),
            _ => None,
        };
        cx.set_shape(0, dtype, shape);
        known::set_if_flat(cx, 0, picked);
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let (x, indices) = (operand(inputs, 0)?, operand(inputs, 1)?);
        let axis = normal_axis(cx.int("axis"), x.rank())?;
        let (outer, extent, inner) = around(x.shape(), axis)?;
        let shape = [&x.shape()[..axis], indices.shape(), &x.shape()[axis + 1..]].concat();
        let mut out = Filler::new(cx, x.dtype(), shape)?;
        let at: Vec<usize> = integers(indices)?.into_iter().map(|i| index(i, extent)).collect::<Result<_, _>>()?;
        if inner > 0 {
            let cells = Cells::of(x);
            (0..outer).for_each(|o| at.iter().for_each(|i| out.push_run(&cells, (o * extent + i) * inner, inner)));
        }
        Ok(vec![out.finish()?])
    }),
    lower: |cx| match cx.shape(0).ok().flatten().map(|d| cx.axis("axis", d.len())) {
        Some(Ok(axis)) => Lowered::kernel(Kernel::Gather { axis }, 2),
        _ => Lowered::Reference,
    },
    ..OpDef::NEW
};
