//! Where indices point, and how updates meet what is there: shared by gathers and scatters.

use crate::elementwise::elements;
use crate::indexing::{Cells, Filler, index, integers, strides};
use crate::{EvalCx, OpError};
use planc_kir::ScatterReduction;
use planc_tensor::{DType, Element, Tensor, View, bf16, element_count, f16};

/// The reduction by its ONNX name.
///
/// # Errors
/// For other names.
pub(super) fn reduction(name: &str) -> Result<ScatterReduction, OpError> {
    Ok(match name {
        "none" => ScatterReduction::None,
        "add" => ScatterReduction::Add,
        "mul" => ScatterReduction::Mul,
        "min" => ScatterReduction::Min,
        "max" => ScatterReduction::Max,
        _ => return Err(OpError::attribute(format!("reduction {name:?} is not none, add, mul, min or max"))),
    })
}

/// For each element i of `indices`, the offset of i with `axis` replaced by the element, in a tensor of `shape`.
///
/// # Errors
/// When ranks differ or an index, or an extent of another axis, is out of range.
pub(super) fn places(shape: &[usize], indices: View<'_>, axis: usize) -> Result<Vec<usize>, OpError> {
    let within = |a: usize| a == axis || indices.shape()[a] <= shape[a];
    if indices.rank() != shape.len() || !(0..shape.len()).all(within) {
        return Err(OpError::shape(format!("indices of {:?} do not fit {shape:?}", indices.shape())));
    }
    let mut steps = strides(shape);
    let step = std::mem::take(&mut steps[axis]);
    let mut base = Vec::with_capacity(indices.len());
    crate::elementwise::walk(indices.shape(), &steps, &mut |at| base.push(at));
    let at = |(base, i): (usize, i64)| Ok(base + index(i, shape[axis])? * step);
    base.into_iter().zip(integers(indices)?).map(at).collect()
}

/// For each tuple of the last axis of `indices`, the offset of the slice it addresses in a tensor of `shape` after
/// `batch` axes that both share; and the tuples' length.
///
/// # Errors
/// When shapes do not fit or an index is out of range.
pub(super) fn tuple_places(shape: &[usize], indices: View<'_>, batch: usize) -> Result<(Vec<usize>, usize), OpError> {
    let wrong = || OpError::shape(format!("indices of {:?} do not address {shape:?}", indices.shape()));
    let (tuple, lead) = indices.shape().split_last().ok_or_else(wrong)?;
    let fits = batch <= lead.len() && batch <= shape.len() && lead[..batch] == shape[..batch];
    if !fits || *tuple > shape.len() - batch {
        return Err(wrong());
    }
    let addressed = &shape[batch..batch + tuple];
    let steps = strides(shape);
    let count = |s: &[usize]| element_count(s).ok_or_else(|| OpError::limit("too many elements"));
    let (per_batch, tuples) = (count(&lead[batch..])?, count(lead)?);
    let batch_step = if batch == 0 { 0 } else { steps[batch - 1] };
    let values = integers(indices)?;
    let place = |t: usize| {
        let base = t.checked_div(per_batch).unwrap_or(0) * batch_step;
        let parts = values[t * tuple..(t + 1) * tuple].iter().zip(addressed).zip(&steps[batch..]);
        parts.into_iter().try_fold(base, |at, ((i, extent), step)| Ok(at + index(*i, *extent)? * step))
    };
    Ok(((0..tuples).map(place).collect::<Result<_, OpError>>()?, *tuple))
}

/// `data` with runs of `run` elements of `updates` combined in at `places`, in order.
///
/// # Errors
/// When the reduction does not take the element type.
pub(super) fn scatter(
    cx: &EvalCx<'_>,
    data: View<'_>,
    places: &[usize],
    run: usize,
    updates: View<'_>,
    reduction: ScatterReduction,
) -> Result<Tensor, OpError> {
    if places.len().checked_mul(run) != Some(updates.len()) {
        return Err(OpError::shape(format!("updates of {:?} do not fit the indices", updates.shape())));
    }
    if reduction == ScatterReduction::None {
        let mut out = Filler::copy_of(cx, data)?;
        let cells = Cells::of(updates);
        places.iter().enumerate().for_each(|(i, p)| out.copy(*p, &cells, i * run, run));
        return out.finish();
    }
    macro_rules! float {
        ($t:ty, $via:ty, $from:expr, $to:expr) => {
            combine::<$t>(data, places, run, updates, |a, b| {
                let (a, b): ($via, $via) = ($from(a), $from(b));
                $to(match reduction {
                    ScatterReduction::None => b,
                    ScatterReduction::Add => a + b,
                    ScatterReduction::Mul => a * b,
                    ScatterReduction::Min => {
                        if a.is_nan() || a < b {
                            a
                        } else {
                            b
                        }
                    }
                    ScatterReduction::Max => {
                        if a.is_nan() || a > b {
                            a
                        } else {
                            b
                        }
                    }
                })
            })
        };
    }
    match data.dtype() {
        DType::F32 => float!(f32, f32, |v| v, |v| v),
        DType::F64 => float!(f64, f64, |v| v, |v| v),
        DType::F16 => float!(f16, f32, f16::to_f32, f16::from_f32),
        DType::BF16 => float!(bf16, f32, bf16::to_f32, bf16::from_f32),
        DType::Bool => combine::<bool>(data, places, run, updates, |a, b| match reduction {
            ScatterReduction::None => b,
            ScatterReduction::Add | ScatterReduction::Max => a || b,
            ScatterReduction::Mul | ScatterReduction::Min => a && b,
        }),
        t => crate::dispatch_int!(t, T => combine::<T>(data, places, run, updates, |a, b| match reduction {
            ScatterReduction::None => b,
            ScatterReduction::Add => a.wrapping_add(b),
            ScatterReduction::Mul => a.wrapping_mul(b),
            ScatterReduction::Min => a.min(b),
            ScatterReduction::Max => a.max(b),
        }), Err(OpError::type_(format!("reductions do not take {t}")))),
    }
}

fn combine<T: Element>(
    data: View<'_>,
    places: &[usize],
    run: usize,
    updates: View<'_>,
    f: impl Fn(T, T) -> T,
) -> Result<Tensor, OpError> {
    let mut out = elements::<T>(data)?.into_owned();
    let updates = elements::<T>(updates)?;
    for (i, p) in places.iter().enumerate() {
        let run_of = out[*p..*p + run].iter_mut().zip(&updates[i * run..(i + 1) * run]);
        run_of.for_each(|(o, u)| *o = f(*o, *u));
    }
    Ok(Tensor::new(data.shape(), out)?)
}
