//! What ArgMax and ArgMin share: the position of an extremum along an axis. NaN is never chosen over a number that
//! comes before it.

use crate::elementwise::{elements, only};
use crate::{AttrDef, EvalCx, InferCx, LowerCx, Lowered, OpDef, OpError, Param, TypeSet, normal_axis};
use planc_kir::{ArgReduce, Kernel};
use planc_tensor::{DType, Dim, Tensor, View};

/// What their rows start from.
pub const ROW: OpDef = OpDef {
    types: &[("T", TypeSet::NUMERIC), ("tensor(int64)", TypeSet::I64)],
    inputs: &[Param::req("data", "T")],
    outputs: &[Param::req("reduced", "tensor(int64)")],
    attrs: &[AttrDef::int("axis", 0), AttrDef::int("keepdims", 1), AttrDef::int("select_last_index", 0).since(12)],
    infer,
    ..OpDef::NEW
};

fn infer(cx: &mut InferCx<'_>) -> Result<(), OpError> {
    let shape = match cx.shape(0)? {
        Some(shape) => {
            let axis = cx.axis("axis", shape.len())?;
            if shape[axis].as_const() == Some(0) {
                return Err(OpError::shape("there is no extremum of no elements"));
            }
            let mut out = shape.to_vec();
            if cx.flag("keepdims") {
                out[axis] = Dim::from(1i64);
            } else {
                out.remove(axis);
            }
            Some(out)
        }
        None => None,
    };
    cx.set_shape(0, DType::I64, shape);
    Ok(())
}

/// Evaluation for the maximum or the minimum.
///
/// # Errors
/// When the axis is out of range or has no elements.
pub fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>], max: bool) -> Result<Vec<Tensor>, OpError> {
    let x = only(inputs)?;
    let axis = normal_axis(cx.int("axis"), x.rank())?;
    let n = x.shape()[axis];
    let inner = x.shape()[axis + 1..].iter().fold(1usize, |n, d| n.saturating_mul(*d));
    let mut shape = x.shape().to_vec();
    shape[axis] = 1;
    let count = cx.reserve(DType::I64, &shape)?;
    if n == 0 && count > 0 {
        return Err(OpError::shape("there is no extremum of no elements"));
    }
    if !cx.flag("keepdims") {
        shape.remove(axis);
    }
    let last = cx.flag("select_last_index");
    let positions = crate::dispatch_numeric!(x.dtype(), T => {
        let x = elements::<T>(x)?;
        (0..count).map(|k| {
            let start = k / inner * n * inner + k % inner;
            let mut best = 0;
            for i in 1..n {
                let (v, b) = (x[start + i * inner], x[start + best * inner]);
                if (if max { v > b } else { v < b }) || last && v == b {
                    best = i;
                }
            }
            best as i64
        }).collect()
    }, return Err(OpError::type_(format!("does not take {}", x.dtype()))));
    Ok(vec![Tensor::new(shape, positions)?])
}

/// The `ArgReduce` kernel, where the rank is known.
pub fn lower(cx: &LowerCx<'_>, max: bool) -> Lowered {
    let axis = cx.tensor(0).ok().and_then(|t| t.rank()).and_then(|r| cx.axis("axis", r).ok());
    let last = cx.flag("select_last_index");
    axis.map_or(Lowered::Reference, |axis| Lowered::kernel(Kernel::ArgReduce(ArgReduce { max, axis, last }), 1))
}
