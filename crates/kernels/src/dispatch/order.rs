//! Kernels along an axis that depend on the order of its elements: extrema's positions, the largest few, running sums.

use super::{Cx, Operand, Output};
use planc_kir::ArgReduce;
use planc_tensor::{DType, Element};
use std::cmp::Ordering;

/// Products of the extents before, at and after an axis.
fn around(shape: &[usize], axis: usize) -> Result<(usize, usize, usize), String> {
    let extent = *shape.get(axis).ok_or_else(|| format!("no axis {axis} in {shape:?}"))?;
    Ok((shape[..axis].iter().product(), extent, shape[axis + 1..].iter().product()))
}

fn positions<'o>(y: &'o mut Output<'_>) -> Result<&'o mut [i64], String> {
    if y.dtype != DType::I64 {
        return Err(format!("positions are i64, not {}", y.dtype));
    }
    bytemuck::try_cast_slice_mut(y.bytes).map_err(|e| format!("positions: {e}"))
}

/// `[x f32] -> [out i64]`; NaN is the extremum either way.
pub(super) fn arg_reduce(cx: &mut Cx<'_>, spec: &ArgReduce, x: Operand<'_>, y: &mut Output<'_>) -> Result<(), String> {
    let (outer, n, inner) = around(x.shape, spec.axis)?;
    let data = x.elements::<f32>()?;
    let out = positions(y)?;
    if out.len() != outer * inner {
        return Err(format!("axis {} of {:?} has not {} extrema", spec.axis, x.shape, out.len()));
    }
    if out.is_empty() {
        return Ok(());
    }
    if n == 0 {
        return Err("an empty axis has no extremum".into());
    }
    let best = cx.scratch.floats(inner);
    let sign = if spec.max { 1.0 } else { -1.0 };
    for (out, x) in out.chunks_exact_mut(inner).zip(data.chunks_exact(n * inner)) {
        out.fill(0);
        best.iter_mut().zip(x).for_each(|(best, v)| *best = sign * v);
        for (i, row) in x.chunks_exact(inner).enumerate().skip(1) {
            for ((at, best), v) in out.iter_mut().zip(best.iter_mut()).zip(row) {
                let v = sign * v;
                let equal = v == *best || v.is_nan() && best.is_nan();
                if v > *best || v.is_nan() && !best.is_nan() || spec.last && equal {
                    (*at, *best) = (i as i64, v);
                }
            }
        }
    }
    Ok(())
}

/// `[x f32, k i64] -> [values?, indices? i64]`: sorted, with NaN above everything and the lower index first.
pub(super) fn top_k(
    axis: usize,
    largest: bool,
    inputs: &[Option<Operand<'_>>],
    outputs: &mut [Option<Output<'_>>],
) -> Result<(), String> {
    let operand = |i: usize| inputs.get(i).copied().flatten();
    let (Some(x), Some(k)) = (operand(0), operand(1)) else { return Err("an operand is missing".into()) };
    let (outer, n, inner) = around(x.shape, axis)?;
    let k = match k.elements::<i64>()? {
        [k] => usize::try_from(*k).ok().filter(|k| *k <= n),
        _ => None,
    };
    let k = k.ok_or_else(|| format!("k is not a number up to {n}"))?;
    let mut shape = x.shape.to_vec();
    shape[axis] = k;
    if let Some(out) = outputs.iter().flatten().find(|o| o.shape != shape) {
        return Err(format!("the result is {:?}, not {shape:?}", out.shape));
    }
    let data = x.elements::<f32>()?;
    let (values, indices) = match outputs {
        [values, indices, ..] => (values.as_mut(), indices.as_mut()),
        [values] => (values.as_mut(), None),
        [] => return Ok(()),
    };
    let mut values = values.map(Output::elements).transpose()?;
    let mut indices = indices.map(positions).transpose()?;
    let above = |a: f32, b: f32| a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()));
    let order = |a: &(f32, usize), b: &(f32, usize)| -> Ordering {
        let by_value = if largest { above(b.0, a.0) } else { above(a.0, b.0) };
        by_value.then(a.1.cmp(&b.1))
    };
    let mut line: Vec<(f32, usize)> = Vec::with_capacity(n);
    for l in 0..if k == 0 { 0 } else { outer * inner } {
        let (o, i) = (l / inner, l % inner);
        line.clear();
        line.extend((0..n).map(|at| (data[(o * n + at) * inner + i], at)));
        if k < n {
            line.select_nth_unstable_by(k - 1, order);
            line.truncate(k);
        }
        line.sort_unstable_by(order);
        for (at, (value, index)) in line.iter().enumerate() {
            let to = (o * k + at) * inner + i;
            if let Some(values) = &mut values {
                values[to] = *value;
            }
            if let Some(indices) = &mut indices {
                indices[to] = *index as i64;
            }
        }
    }
    Ok(())
}

/// Types with running sums.
pub(super) fn supports_sums(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::I32 | DType::I64)
}

/// `[x] -> [out]`; floats are added in f64.
pub(super) fn cum_sum(
    axis: usize,
    exclusive: bool,
    reverse: bool,
    x: Operand<'_>,
    y: &mut Output<'_>,
) -> Result<(), String> {
    if x.shape != y.shape || x.dtype != y.dtype {
        return Err(format!("sums of {}{:?} are not {}{:?}", x.dtype, x.shape, y.dtype, y.shape));
    }
    let extents = around(x.shape, axis)?;
    match x.dtype {
        DType::F32 => {
            sums(extents, exclusive, reverse, x.elements::<f32>()?, y, 0f64, |s, v| s + f64::from(v), |s| s as f32)
        }
        DType::I32 => sums(extents, exclusive, reverse, x.elements::<i32>()?, y, 0i32, i32::wrapping_add, |s| s),
        DType::I64 => sums(extents, exclusive, reverse, x.elements::<i64>()?, y, 0i64, i64::wrapping_add, |s| s),
        other => Err(format!("no running sums of {other}")),
    }
}

fn sums<T: Element + bytemuck::Pod, S: Copy>(
    (outer, n, inner): (usize, usize, usize),
    exclusive: bool,
    reverse: bool,
    x: &[T],
    y: &mut Output<'_>,
    zero: S,
    add: impl Fn(S, T) -> S,
    round: impl Fn(S) -> T,
) -> Result<(), String> {
    let out: &mut [T] = bytemuck::try_cast_slice_mut(y.bytes).map_err(|e| format!("the result: {e}"))?;
    if out.len() != x.len() || x.len() != outer * n * inner {
        return Err("the result has another size".into());
    }
    let mut state = vec![zero; inner];
    for o in 0..outer {
        state.fill(zero);
        for step in 0..n {
            let row = (o * n + if reverse { n - 1 - step } else { step }) * inner;
            for ((sum, v), to) in state.iter_mut().zip(&x[row..row + inner]).zip(&mut out[row..row + inner]) {
                let next = add(*sum, *v);
                *to = round(if exclusive { *sum } else { next });
                *sum = next;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    //! Against the interpreter.

    use super::super::check::{agrees, floats, i32s, i64s};
    use super::*;
    use crate::check::Rng;
    use planc_kir::Kernel;
    use planc_tensor::Tensor;

    const SHAPES: [(&[usize], usize); 6] =
        [(&[7], 0), (&[1], 0), (&[3, 4, 5], 1), (&[2, 33], 1), (&[9, 17], 0), (&[0, 3], 1)];

    /// Few different values, and NaN among them.
    fn ties(rng: &mut Rng, shape: &[usize]) -> Tensor {
        let pick = |_| [-1.0, 0.0, 0.5, f32::NAN, 2.0, -0.0][(rng.bits() % 6) as usize];
        let count: usize = shape.iter().product();
        Tensor::new(shape, (0..count).map(pick).collect::<Vec<f32>>()).unwrap()
    }

    #[test]
    fn extrema() {
        let mut rng = Rng::new(31);
        for (shape, axis) in SHAPES {
            for bits in 0..4 {
                let kernel = Kernel::ArgReduce(ArgReduce { max: bits & 1 != 0, axis, last: bits & 2 != 0 });
                let mut out = shape.to_vec();
                out[axis] = 1;
                for x in [floats(&mut rng, shape), ties(&mut rng, shape)] {
                    agrees(&kernel, &[Some(x)], &[(DType::I64, out.clone())], 0.0);
                }
            }
        }
    }

    #[test]
    fn largest() {
        let mut rng = Rng::new(32);
        for (shape, axis) in SHAPES {
            for k in [0, 1, shape[axis] / 2, shape[axis]] {
                for largest in [false, true] {
                    let kernel = Kernel::TopK { axis, largest, sorted: true };
                    let mut out = shape.to_vec();
                    out[axis] = k;
                    let results = [(DType::F32, out.clone()), (DType::I64, out)];
                    for x in [floats(&mut rng, shape), ties(&mut rng, shape)] {
                        agrees(&kernel, &[Some(x), Some(i64s(&[1], &[k as i64]))], &results, 0.0);
                    }
                }
            }
        }
    }

    #[test]
    fn running_sums() {
        let mut rng = Rng::new(33);
        for (shape, axis) in SHAPES {
            for bits in 0..4 {
                let kernel = Kernel::CumSum { axis, exclusive: bits & 1 != 0, reverse: bits & 2 != 0 };
                let count: usize = shape.iter().product();
                let ints: Vec<i32> = (0..count).map(|_| (rng.bits() % 1000) as i32 - 500).collect();
                let wide: Vec<i64> = ints.iter().map(|i| i64::from(*i) << 30).collect();
                for x in [floats(&mut rng, shape), i32s(shape, &ints), i64s(shape, &wide)] {
                    let results = [(x.dtype(), shape.to_vec())];
                    agrees(&kernel, &[Some(x)], &results, 1e-6);
                }
            }
        }
    }
}
