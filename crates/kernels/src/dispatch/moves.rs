//! Kernels that move elements to and from computed places: padding, tiling, gathering, scattering.

use super::{Cx, Operand, Output};
use planc_kir::{Pad, PadMode, ScatterReduction};
use planc_tensor::{DType, contiguous_strides};

fn size_of(x: &Operand<'_>) -> Result<usize, String> {
    x.dtype.size().ok_or_else(|| format!("elements of {} cannot be moved one by one", x.dtype))
}

/// Where each element of an axis of the result comes from; nowhere gives the filling.
type Sources = Vec<Option<usize>>;

/// Consecutive elements from consecutive places, or from nowhere.
struct Run {
    at: usize,
    from: Option<usize>,
    len: usize,
}

fn runs(sources: &Sources) -> Vec<Run> {
    let mut runs: Vec<Run> = vec![];
    for (at, from) in sources.iter().enumerate() {
        match runs.last_mut() {
            Some(run) if run.from.map(|f| f + run.len) == *from => run.len += 1,
            _ => runs.push(Run { at, from: *from, len: 1 }),
        }
    }
    runs
}

/// Copies the elements that `sources` names per axis, each below the extent of its axis of `shape`.
fn pick(x: &[u8], shape: &[usize], mut size: usize, mut sources: Vec<Sources>, fill: &[u8], y: &mut [u8]) {
    if y.is_empty() {
        return;
    }
    // Trailing axes that are taken as they are move as one element.
    let mut rank = shape.len();
    while rank > 1 && sources[rank - 1].iter().copied().eq((0..shape[rank - 1]).map(Some)) {
        rank -= 1;
        size *= shape[rank];
    }
    sources.truncate(rank);
    let Some(last) = sources.pop() else {
        y.copy_from_slice(x);
        return;
    };
    let strides = contiguous_strides(&shape[..rank]);
    let (runs, row) = (runs(&last), last.len() * size);
    let put = |to: &mut [u8]| match fill {
        [first, others @ ..] if others.iter().any(|b| b != first) => {
            to.chunks_exact_mut(fill.len()).for_each(|to| to.copy_from_slice(fill));
        }
        [first, ..] => to.fill(*first),
        [] => {}
    };
    let mut index = vec![0usize; rank - 1];
    for to in y.chunks_exact_mut(row) {
        let base =
            index.iter().zip(&sources).zip(&strides).try_fold(0, |at, ((i, s), stride)| Some(at + s[*i]? * stride));
        match base {
            None => put(to),
            Some(base) => {
                for Run { at, from, len } in &runs {
                    let to = &mut to[at * size..(at + len) * size];
                    match from {
                        Some(from) => to.copy_from_slice(&x[(base + from) * size..][..len * size]),
                        None => put(to),
                    }
                }
            }
        }
        for (i, s) in index.iter_mut().zip(&sources).rev() {
            *i += 1;
            if *i < s.len() {
                break;
            }
            *i = 0;
        }
    }
}

/// `[x, value?] -> [out]`.
pub(super) fn pad(
    cx: &Cx<'_>,
    spec: &Pad,
    x: Operand<'_>,
    value: Option<Operand<'_>>,
    y: &mut Output<'_>,
) -> Result<(), String> {
    let size = size_of(&x)?;
    let rank = x.shape.len();
    if spec.before.len() != rank || y.shape.len() != rank || y.dtype != x.dtype {
        return Err(format!("{:?} is not padded to {:?}", x.shape, y.shape));
    }
    let zero = [0u8; 16];
    let fill = match value {
        Some(v) if v.dtype != x.dtype || v.bytes.len() != size => {
            return Err(format!("the value {}{:?} does not pad {}", v.dtype, v.shape, x.dtype));
        }
        Some(v) => v.bytes,
        None => zero.get(..size).ok_or("elements are too wide")?,
    };
    let mut sources = Vec::with_capacity(rank);
    for (axis, before) in spec.before.iter().enumerate() {
        let (before, extent) = (cx.dim(before)?, x.shape[axis]);
        let source = |i: usize| place(i as i64 - before, extent as i64, spec.mode);
        let axis_sources: Sources = (0..y.shape[axis]).map(source).collect();
        if spec.mode != PadMode::Constant && axis_sources.contains(&None) && !y.bytes.is_empty() {
            return Err(format!("axis {axis} of {:?} is empty, there is nothing to repeat", x.shape));
        }
        sources.push(axis_sources);
    }
    pick(x.bytes, x.shape, size, sources, fill, y.bytes);
    Ok(())
}

/// The element of `0..n` that stands for position `i`.
fn place(i: i64, n: i64, mode: PadMode) -> Option<usize> {
    let at = match mode {
        _ if (0..n).contains(&i) => i,
        PadMode::Constant => return None,
        _ if n == 0 => return None,
        PadMode::Edge => i.clamp(0, n - 1),
        PadMode::Wrap => i.rem_euclid(n),
        PadMode::Reflect if n == 1 => 0,
        PadMode::Reflect => {
            // Up and down again: 0 1 2 3 2 1, and from the start.
            let there = i.rem_euclid(2 * n - 2);
            there.min(2 * n - 2 - there)
        }
    };
    usize::try_from(at).ok()
}

/// `[x] -> [out]`.
pub(super) fn tile(x: Operand<'_>, y: &mut Output<'_>) -> Result<(), String> {
    let size = size_of(&x)?;
    let whole = |(d, o): (&usize, &usize)| if *d == 0 { *o == 0 } else { o.is_multiple_of(*d) };
    if x.shape.len() != y.shape.len() || x.dtype != y.dtype || !x.shape.iter().zip(y.shape).all(whole) {
        return Err(format!("{:?} is no multiple of {:?}", y.shape, x.shape));
    }
    let sources = x.shape.iter().zip(y.shape).map(|(d, o)| (0..*o).map(|i| Some(i % d)).collect()).collect();
    pick(x.bytes, x.shape, size, sources, &[], y.bytes);
    Ok(())
}

fn integers(o: &Operand<'_>) -> Result<Vec<i64>, String> {
    match o.dtype {
        DType::I64 => Ok(o.elements::<i64>()?.to_vec()),
        DType::I32 => Ok(o.elements::<i32>()?.iter().map(|i| i64::from(*i)).collect()),
        other => Err(format!("indices of {other}")),
    }
}

/// An index of an axis, from its end where negative.
fn position(i: i64, extent: usize) -> Result<usize, String> {
    let at = if i < 0 { i.checked_add(extent as i64) } else { Some(i) };
    let at = at.and_then(|at| usize::try_from(at).ok()).filter(|at| *at < extent);
    at.ok_or_else(|| format!("index {i} is out of range for {extent} elements"))
}

/// For each index, in order, the element of a tensor of `shape` that it means: its own place with `axis` replaced.
fn places(shape: &[usize], axis: usize, indices: &Operand<'_>) -> Result<Vec<usize>, String> {
    let within = |(a, (i, d)): (usize, (&usize, &usize))| a == axis || i <= d;
    let fits = indices.shape.len() == shape.len()
        && axis < shape.len()
        && indices.shape.iter().zip(shape).enumerate().all(within);
    if !fits {
        return Err(format!("indices {:?} do not fit axis {axis} of {shape:?}", indices.shape));
    }
    let strides = contiguous_strides(shape);
    let mut at = vec![0usize; shape.len()];
    let indices_of = integers(indices)?;
    let mut places = Vec::with_capacity(indices_of.len());
    for i in indices_of {
        let others: usize =
            at.iter().zip(&strides).enumerate().map(|(a, (i, s))| if a == axis { 0 } else { i * s }).sum();
        places.push(others + position(i, shape[axis])? * strides[axis]);
        for (i, extent) in at.iter_mut().zip(indices.shape).rev() {
            *i += 1;
            if *i < *extent {
                break;
            }
            *i = 0;
        }
    }
    Ok(places)
}

/// For each tuple of indices, the run of a tensor of `shape` that it means, and elements of a run; the first
/// `batch` axes are shared.
fn tuples(shape: &[usize], batch: usize, indices: &Operand<'_>) -> Result<(Vec<usize>, usize), String> {
    let wrong = || format!("tuples {:?} do not index {shape:?}", indices.shape);
    let (&k, lead) = indices.shape.split_last().ok_or_else(wrong)?;
    if batch > lead.len() || batch + k > shape.len() || shape[..batch] != lead[..batch] {
        return Err(wrong());
    }
    let (axes, inner) = (&shape[batch..batch + k], shape[batch + k..].iter().product());
    let per_batch: usize = axes.iter().product();
    let (count, batches) = (lead.iter().product::<usize>(), lead[..batch].iter().product::<usize>());
    let ints = integers(indices)?;
    let mut runs = Vec::with_capacity(count);
    for n in 0..count {
        let mut at = n / (count / batches.max(1)).max(1) * per_batch;
        let mut stride = per_batch;
        for (i, extent) in ints[n * k..(n + 1) * k].iter().zip(axes) {
            let i = position(*i, *extent)?;
            stride /= extent;
            at += i * stride;
        }
        runs.push(at);
    }
    Ok((runs, inner))
}

/// `[x, indices] -> [out]`.
pub(super) fn gather_elements(
    axis: usize,
    x: Operand<'_>,
    indices: Operand<'_>,
    y: &mut Output<'_>,
) -> Result<(), String> {
    let size = size_of(&x)?;
    if indices.shape != y.shape || x.dtype != y.dtype {
        return Err(format!("indices {:?} do not give {:?}", indices.shape, y.shape));
    }
    for (to, from) in y.bytes.chunks_exact_mut(size).zip(places(x.shape, axis, &indices)?) {
        to.copy_from_slice(&x.bytes[from * size..][..size]);
    }
    Ok(())
}

/// `[x, indices] -> [out]`.
pub(super) fn gather_nd(batch: usize, x: Operand<'_>, indices: Operand<'_>, y: &mut Output<'_>) -> Result<(), String> {
    let size = size_of(&x)?;
    let (runs, inner) = tuples(x.shape, batch, &indices)?;
    let run = inner * size;
    if y.bytes.len() != runs.len() * run || x.dtype != y.dtype {
        return Err(format!("tuples {:?} of {:?} do not give {:?}", indices.shape, x.shape, y.shape));
    }
    for (to, from) in y.bytes.chunks_exact_mut(run.max(1)).zip(runs) {
        to.copy_from_slice(&x.bytes[from * run..][..run]);
    }
    Ok(())
}

/// Whether updates of a type are combined in this way.
pub(super) fn supports_scatter(reduction: ScatterReduction, dtype: DType) -> bool {
    reduction == ScatterReduction::None || dtype == DType::F32
}

/// `[x, indices, updates] -> [out]`; `axis` is that of single indices, tuples have none.
pub(super) fn scatter(
    axis: Option<usize>,
    reduction: ScatterReduction,
    x: Operand<'_>,
    indices: Operand<'_>,
    updates: Operand<'_>,
    y: &mut Output<'_>,
) -> Result<(), String> {
    let size = size_of(&x)?;
    let (runs, inner) = match axis {
        Some(axis) => (places(x.shape, axis, &indices)?, 1),
        None => tuples(x.shape, 0, &indices)?,
    };
    let run = inner * size;
    let same = x.dtype == y.dtype && x.dtype == updates.dtype && x.shape == y.shape;
    if !same || updates.bytes.len() != runs.len() * run || axis.is_some() && updates.shape != indices.shape {
        return Err(format!("updates {:?} at {:?} do not fit {:?}", updates.shape, indices.shape, x.shape));
    }
    y.bytes.copy_from_slice(x.bytes);
    if run == 0 {
        return Ok(());
    }
    if reduction == ScatterReduction::None {
        for (from, to) in updates.bytes.chunks_exact(run).zip(runs) {
            y.bytes[to * run..][..run].copy_from_slice(from);
        }
        return Ok(());
    }
    // NaN wins, whichever side it is on.
    let combine: fn(f32, f32) -> f32 = match reduction {
        ScatterReduction::None => |_, b| b,
        ScatterReduction::Add => |a, b| a + b,
        ScatterReduction::Mul => |a, b| a * b,
        ScatterReduction::Min => |a, b| if a < b || a.is_nan() { a } else { b },
        ScatterReduction::Max => |a, b| if a > b || a.is_nan() { a } else { b },
    };
    let (from, out) = (updates.elements::<f32>()?, y.elements()?);
    for (from, to) in from.chunks_exact(inner).zip(runs) {
        for (to, from) in out[to * inner..][..inner].iter_mut().zip(from) {
            *to = combine(*to, *from);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    //! Against the interpreter.

    use super::super::check::{agrees, floats, i32s, i64s, random, run_on};
    use super::*;
    use crate::check::Rng;
    use crate::isa::Isa;
    use crate::par::Serial;
    use planc_kir::Kernel;
    use planc_tensor::{Dim, Tensor};

    const TYPES: [DType; 4] = [DType::U8, DType::F16, DType::I32, DType::I64];

    #[test]
    fn pads_and_tiles() {
        let mut rng = Rng::new(21);
        let cases: [(&[usize], &[i64], &[usize]); 7] = [
            (&[], &[], &[]),
            (&[5], &[2], &[11]),
            (&[2, 3, 4], &[0, 1, 2], &[2, 5, 9]),
            (&[2, 3, 4], &[1, 0, 0], &[4, 3, 4]),
            (&[3, 4], &[-1, 2], &[2, 5]),
            (&[1, 2, 1, 3], &[0, 3, 1, 0], &[1, 7, 4, 3]),
            (&[2, 3], &[0, 0], &[0, 3]),
        ];
        for (x, before, y) in cases {
            for mode in [PadMode::Constant, PadMode::Edge, PadMode::Reflect, PadMode::Wrap] {
                for t in TYPES {
                    let kernel = Kernel::Pad(Pad { before: before.iter().map(|b| Dim::from(*b)).collect(), mode });
                    let value = (t.bits() > 8).then(|| random(&mut rng, t, &[]));
                    agrees(&kernel, &[Some(random(&mut rng, t, x)), value], &[(t, y.to_vec())], 0.0);
                }
            }
        }
        let cases: [(&[usize], &[usize]); 5] =
            [(&[], &[]), (&[3], &[12]), (&[2, 3, 4], &[4, 3, 8]), (&[1, 5, 1], &[3, 5, 2]), (&[2, 3], &[2, 0])];
        for (x, y) in cases {
            for t in TYPES {
                agrees(&Kernel::Tile, &[Some(random(&mut rng, t, x))], &[(t, y.to_vec())], 0.0);
            }
        }
    }

    /// Indices of `0..extent`, some of them from the end.
    fn indices(rng: &mut Rng, shape: &[usize], extent: usize) -> Tensor {
        let count = shape.iter().product();
        let one = |_| (rng.bits() % (2 * extent as u64)) as i64 - extent as i64;
        let all: Vec<i64> = (0..count).map(one).collect();
        if all.len().is_multiple_of(2) {
            return i64s(shape, &all);
        }
        i32s(shape, &all.iter().map(|i| *i as i32).collect::<Vec<_>>())
    }

    #[test]
    fn single_indices() {
        let mut rng = Rng::new(22);
        let cases: [(&[usize], usize, &[usize]); 5] = [
            (&[5], 0, &[7]),
            (&[3, 4], 1, &[2, 6]),
            (&[3, 4, 5], 1, &[3, 2, 5]),
            (&[4, 2, 3], 0, &[9, 1, 2]),
            (&[3, 4], 0, &[0, 4]),
        ];
        for (x, axis, shape) in cases {
            for t in TYPES {
                let x_t = Some(random(&mut rng, t, x));
                let at = Some(indices(&mut rng, shape, x[axis]));
                agrees(&Kernel::GatherElements { axis }, &[x_t.clone(), at.clone()], &[(t, shape.to_vec())], 0.0);
                let kernel = Kernel::ScatterElements { axis, reduction: ScatterReduction::None };
                let updates = Some(random(&mut rng, t, shape));
                agrees(&kernel, &[x_t, at, updates], &[(t, x.to_vec())], 0.0);
            }
            use ScatterReduction::{Add, Max, Min, Mul};
            for reduction in [Add, Mul, Min, Max] {
                let at = indices(&mut rng, shape, x[axis]);
                let inputs = [floats(&mut rng, x), at, floats(&mut rng, shape)].map(Some);
                agrees(&Kernel::ScatterElements { axis, reduction }, &inputs, &[(DType::F32, x.to_vec())], 1e-6);
            }
        }
    }

    #[test]
    fn tuples_of_indices() {
        let mut rng = Rng::new(23);
        // Extents of indexed axes are equal, so that any index fits any axis.
        type Case = (&'static [usize], usize, &'static [usize], &'static [usize]);
        let cases: [Case; 6] = [
            (&[4, 4], 0, &[3, 2], &[3]),
            (&[4, 4, 3], 0, &[2, 5, 1], &[2, 5, 4, 3]),
            (&[4, 4, 3], 0, &[6, 2], &[6, 3]),
            (&[2, 4, 3], 1, &[2, 5, 1], &[2, 5, 3]),
            (&[2, 3, 4, 4], 2, &[2, 3, 2], &[2, 3]),
            (&[4, 3], 0, &[0, 1], &[0, 3]),
        ];
        for (x, batch, tuple, y) in cases {
            for t in TYPES {
                let (x_t, at) = (Some(random(&mut rng, t, x)), Some(indices(&mut rng, tuple, 4)));
                agrees(&Kernel::GatherNd { batch_dims: batch }, &[x_t.clone(), at.clone()], &[(t, y.to_vec())], 0.0);
                if batch == 0 {
                    let kernel = Kernel::ScatterNd { reduction: ScatterReduction::None };
                    agrees(&kernel, &[x_t, at, Some(random(&mut rng, t, y))], &[(t, x.to_vec())], 0.0);
                }
            }
            if batch == 0 {
                let inputs = [floats(&mut rng, x), indices(&mut rng, tuple, 4), floats(&mut rng, y)].map(Some);
                let kernel = Kernel::ScatterNd { reduction: ScatterReduction::Add };
                agrees(&kernel, &inputs, &[(DType::F32, x.to_vec())], 1e-6);
            }
        }
    }

    #[test]
    fn wrong_operands_are_errors() {
        let f32s = |shape: &[usize]| Tensor::new(shape, vec![1f32; shape.iter().product()]).unwrap();
        let fails = |kernel: Kernel, inputs: Vec<Tensor>, out: &[usize]| {
            let inputs: Vec<_> = inputs.into_iter().map(Some).collect();
            run_on(Isa::detect(), &Serial, &kernel, &inputs, &[(DType::F32, out.to_vec())]).is_err()
        };
        assert!(fails(Kernel::GatherElements { axis: 0 }, vec![f32s(&[3]), i64s(&[1], &[3])], &[1]));
        assert!(fails(Kernel::GatherElements { axis: 0 }, vec![f32s(&[3]), i64s(&[1], &[i64::MIN])], &[1]));
        assert!(fails(Kernel::GatherElements { axis: 0 }, vec![f32s(&[3, 1]), i64s(&[1, 2], &[0, 0])], &[1, 2]));
        assert!(fails(Kernel::GatherNd { batch_dims: 0 }, vec![f32s(&[3]), i64s(&[1, 2], &[0, 0])], &[1]));
        assert!(fails(Kernel::GatherNd { batch_dims: 0 }, vec![f32s(&[3]), i64s(&[1, 1], &[-4])], &[1]));
        let kernel = Kernel::ScatterNd { reduction: ScatterReduction::None };
        assert!(fails(kernel, vec![f32s(&[3]), i64s(&[1, 1], &[0]), f32s(&[2])], &[3]));
        assert!(fails(Kernel::Tile, vec![f32s(&[3])], &[4]));
        let pad = Pad { before: vec![Dim::from(1i64)], mode: PadMode::Edge };
        assert!(fails(Kernel::Pad(pad), vec![f32s(&[0])], &[2]));
    }
}
