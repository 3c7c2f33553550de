//! CenterCropPad: axes cropped or padded with zeros to a shape, the middle kept in the middle.

use crate::indexing::{OUTSIDE, by_axis, integers, strides};
use crate::{AttrDef, AttrKind, Lowered, OpDef, OpError, Param, TypeSet, normal_axis, operand};
use planc_kir::{Kernel, Pad, PadMode};
use planc_tensor::Dim;

/// The row of CenterCropPad.
pub const OP: OpDef = OpDef {
    name: "CenterCropPad",
    since: 18,
    types: &[("T", TypeSet::ALL), ("Tind", TypeSet::INDEX)],
    inputs: &[Param::req("input_data", "T"), Param::req("shape", "Tind")],
    outputs: &[Param::req("output_data", "T")],
    attrs: &[AttrDef::optional("axes", AttrKind::Ints)],
    infer: |cx| {
        let dtype = cx.dtype(0)?;
        let shape = match cx.shape(0)? {
            Some(s) => {
                let axes = axes(cx.ints("axes"), s.len())?;
                let wanted = cx.known(1).unwrap_or_else(|| axes.iter().map(|a| cx.fresh(0, *a)).collect());
                Some(with(s, &axes, &wanted)?)
            }
            None => None,
        };
        cx.set_shape(0, dtype, shape);
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let x = operand(inputs, 0)?;
        let wanted = integers(operand(inputs, 1)?)?.into_iter().map(usize::try_from).collect::<Result<Vec<_>, _>>();
        let wanted = wanted.map_err(|_| OpError::value("an extent is negative"))?;
        let shape = with(x.shape(), &axes(cx.ints("axes"), x.rank())?, &wanted)?;
        let strides = strides(x.shape());
        let source = |a: usize, i: usize| {
            let (from, to) = (x.shape()[a], shape[a]);
            let at = if to < from { Some(i + (from - to) / 2) } else { i.checked_sub((to - from) / 2) };
            at.filter(|at| *at < from).map_or(OUTSIDE, |at| at * strides[a])
        };
        Ok(vec![by_axis(cx, x, shape.clone(), None, source)?])
    }),
    lower: |cx| {
        let (Ok(Some(from)), Ok(ty)) = (cx.shape(0), cx.output(0)) else { return Lowered::Reference };
        let Some(to) = &ty.shape else { return Lowered::Reference };
        let before = |(from, to): (&Dim, &Dim)| {
            if from == to {
                return Some(Dim::from(0i64));
            }
            Some(Dim::from((to.as_const()? - from.as_const()?) / 2))
        };
        match from.iter().zip(to).map(before).collect::<Option<Vec<Dim>>>() {
            Some(before) if cx.known(1).is_some() => {
                Lowered::kernel(Kernel::Pad(Pad { before, mode: PadMode::Constant }), 1)
            }
            _ => Lowered::Reference,
        }
    },
    ..OpDef::NEW
};

fn axes(axes: Option<&[i64]>, rank: usize) -> Result<Vec<usize>, OpError> {
    match axes {
        Some(axes) => axes.iter().map(|a| normal_axis(*a, rank)).collect(),
        None => Ok((0..rank).collect()),
    }
}

/// `shape` with the extents of `axes` replaced by `wanted`.
fn with<T: Clone>(shape: &[T], axes: &[usize], wanted: &[T]) -> Result<Vec<T>, OpError> {
    if axes.len() != wanted.len() {
        return Err(OpError::shape(format!("{} extents for {} axes", wanted.len(), axes.len())));
    }
    let mut out = shape.to_vec();
    axes.iter().zip(wanted).for_each(|(a, w)| out[*a] = w.clone());
    Ok(out)
}
