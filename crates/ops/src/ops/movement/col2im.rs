//! Col2Im: columns of sliding blocks added up to the image they were taken from.

use crate::floats::{by_parts, narrow, widen};
use crate::indexing::integers;
use crate::{AttrDef, AttrKind, EvalCx, OpDef, OpError, Param, TypeSet, known, operand};
use planc_tensor::{Dim, Tensor, View, contiguous_strides, element_count};

/// The row of Col2Im.
pub const OP: OpDef = OpDef {
    name: "Col2Im",
    since: 18,
    types: &[("T", TypeSet::NUMERIC.or(TypeSet::BOOL).or(TypeSet::COMPLEX)), ("tensor(int64)", TypeSet::I64)],
    inputs: &[
        Param::req("input", "T"),
        Param::req("image_shape", "tensor(int64)"),
        Param::req("block_shape", "tensor(int64)"),
    ],
    outputs: &[Param::req("output", "T")],
    attrs: &[
        AttrDef::optional("dilations", AttrKind::Ints),
        AttrDef::optional("pads", AttrKind::Ints),
        AttrDef::optional("strides", AttrKind::Ints),
    ],
    infer: |cx| {
        let dtype = cx.dtype(0)?;
        let n = cx.shape(1)?.and_then(|s| s.first()).and_then(Dim::as_usize).filter(|n| *n <= 64);
        let shape = match (cx.shape(0)?, n) {
            (Some(s), _) if s.len() != 3 => return Err(OpError::shape(format!("{} is not of rank 3", known::text(s)))),
            (Some(s), Some(n)) => {
                let channels = cx.known(2).map(|b| s[1].floor_div(&known::product(&b)));
                let image = cx.known(1).unwrap_or_else(|| (0..n).map(|i| cx.fresh(0, i + 2)).collect());
                let mut shape = vec![s[0].clone(), channels.unwrap_or_else(|| cx.fresh(0, 1))];
                shape.extend(image);
                Some(shape)
            }
            _ => None,
        };
        cx.set_shape(0, dtype, shape);
        Ok(())
    },
    eval: Some(|cx, inputs| Ok(vec![by_parts(operand(inputs, 0)?, |x| add_up(cx, x, inputs))?])),
    ..OpDef::NEW
};

fn add_up(cx: &EvalCx<'_>, x: View<'_>, inputs: &[Option<View<'_>>]) -> Result<Tensor, OpError> {
    let extents = |i: usize| -> Result<Vec<usize>, OpError> {
        let all = integers(operand(inputs, i)?)?.into_iter().map(usize::try_from).collect::<Result<Vec<_>, _>>();
        all.map_err(|_| OpError::value("an extent is negative"))
    };
    let (image, block) = (extents(1)?, extents(2)?);
    let rank = image.len();
    let ints = |name: &str, n: usize, default: i64| match cx.ints(name) {
        Some(v) if v.len() == n && v.iter().all(|v| (0..1 << 31).contains(v)) => Ok(v.to_vec()),
        Some(v) => Err(OpError::attribute(format!("{name} {v:?} does not fit {rank} axes"))),
        None => Ok(vec![default; n]),
    };
    let (strides, dilations) = (ints("strides", rank, 1)?, ints("dilations", rank, 1)?);
    let pads = ints("pads", 2 * rank, 0)?;
    let &[batch, planes, columns] = x.shape() else { return Err(OpError::shape("the operand is not of rank 3")) };
    let block_len = element_count(&block).filter(|n| *n > 0 && planes % n == 0 && block.len() == rank);
    let block_len = block_len.ok_or_else(|| OpError::shape(format!("blocks of {block:?} do not fit")))?;
    let steps = |a: usize| {
        let span = image[a] as i128 + i128::from(pads[a]) + i128::from(pads[rank + a]);
        let window = i128::from(dilations[a]) * (block[a] as i128 - 1) + 1;
        let free = (span - window).div_euclid(i128::from(strides[a].max(1))) + 1;
        usize::try_from(free).unwrap_or(0)
    };
    let steps: Vec<usize> = (0..rank).map(steps).collect();
    if element_count(&steps) != Some(columns) {
        return Err(OpError::shape(format!("{columns} columns do not come from {steps:?} blocks")));
    }
    let channels = planes / block_len;
    let shape = [&[batch, channels], image.as_slice()].concat();
    let mut out = vec![0.0; cx.reserve(planc_tensor::DType::F64, &shape)?];
    let data = widen(x)?;
    let (image_strides, image_len) = (contiguous_strides(&image), element_count(&image).unwrap_or(0));
    let place = |k: usize, column: usize| {
        let (mut k, mut column, mut at) = (k, column, 0);
        for a in (0..rank).rev() {
            let (offset, step) = (k % block[a], column % steps[a]);
            (k, column) = (k / block[a], column / steps[a]);
            let i = step as i64 * strides[a] + offset as i64 * dilations[a] - pads[a];
            at += usize::try_from(i).ok().filter(|i| *i < image[a])? * image_strides[a];
        }
        Some(at)
    };
    for k in 0..block_len {
        for column in 0..columns {
            let Some(at) = place(k, column) else { continue };
            for plane in 0..batch * channels {
                out[plane * image_len + at] += data[(plane * block_len + k) * columns + column];
            }
        }
    }
    narrow(x.dtype(), &shape, out)
}
