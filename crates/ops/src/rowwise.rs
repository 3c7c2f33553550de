//! What Softmax, LogSoftmax and Hardmax share: a function of all elements along an axis, or, before opset 13, along
//! all axes from one on, flattened.

use crate::elementwise::{infer_same, only};
use crate::scalar::{Wide, floats, from_numbers};
use crate::{AttrDef, EvalCx, InferCx, LowerCx, Lowered, OpDef, OpError, Param, TypeSet, Upgrade, normal_axis};
use planc_kir::{Kernel, Softmax};
use planc_tensor::{Tensor, View};

/// What their rows start from.
pub const ROW: OpDef = OpDef {
    types: &[("T", TypeSet::FLOAT)],
    inputs: &[Param::req("input", "T")],
    outputs: &[Param::req("output", "T")],
    attrs: &[AttrDef::int("axis", -1), AttrDef::int("flatten", 0).internal()],
    upgrades: &[Upgrade {
        to: 13,
        step: |cx| {
            let axis = cx.attrs.int("axis").unwrap_or(1);
            cx.attrs.set("axis", axis);
            cx.attrs.set("flatten", 1i64);
            Ok(())
        },
    }],
    ..OpDef::NEW
};

/// The type of operand 0, after a check of the axis.
///
/// # Errors
/// When the axis is out of range.
pub fn infer(cx: &mut InferCx<'_>) -> Result<(), OpError> {
    if let Some(shape) = cx.shape(0)? {
        axes(cx.int("axis"), cx.flag("flatten"), shape.len())?;
    }
    infer_same(cx)
}

/// The first axis and one past the last. A flattened axis may be the rank (rows of one element), and a scalar is one
/// row of one element.
fn axes(axis: i64, flatten: bool, rank: usize) -> Result<(usize, usize), OpError> {
    match (flatten, rank) {
        (true, _) if axis == rank as i64 => Ok((rank, rank)),
        (true, _) => Ok((normal_axis(axis, rank)?, rank)),
        (false, 0) if matches!(axis, -1 | 0) => Ok((0, 0)),
        (false, _) => normal_axis(axis, rank).map(|a| (a, a + 1)),
    }
}

/// Applies `f` to each row of elements, in `f64`.
///
/// # Errors
/// When the axis is out of range.
pub fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>], f: impl Fn(&mut [f64])) -> Result<Vec<Tensor>, OpError> {
    let x = only(inputs)?;
    let (first, end) = axes(cx.int("axis"), cx.flag("flatten"), x.rank())?;
    let mut data = floats(x)?;
    if !data.is_empty() {
        // Products of extents of a tensor that has elements do not overflow.
        let (n, inner): (usize, usize) = (x.shape()[first..end].iter().product(), x.shape()[end..].iter().product());
        let mut row = vec![0.0; n];
        for block in data.chunks_mut(n * inner) {
            for i in 0..inner {
                row.iter_mut().enumerate().for_each(|(k, v)| *v = block[k * inner + i]);
                f(&mut row);
                row.iter().enumerate().for_each(|(k, v)| block[k * inner + i] = *v);
            }
        }
    }
    Ok(vec![from_numbers(x.dtype(), x.shape(), data.into_iter().map(Wide::Float), Default::default())?])
}

/// The `Softmax` kernel, where the rank is known.
pub fn lower(cx: &LowerCx<'_>, log: bool) -> Lowered {
    let rank = cx.tensor(0).ok().and_then(|t| t.rank());
    match rank.and_then(|r| axes(cx.int("axis"), cx.flag("flatten"), r).ok()) {
        Some((axis, end)) if axis < end => Lowered::kernel(Kernel::Softmax(Softmax { axis, end, log }), 1),
        _ => Lowered::Reference,
    }
}
