//! Kernels that only move elements.

use super::{Cx, Operand, Output};
use planc_kir::Slice;
use planc_tensor::{DType, contiguous_strides};

/// Copies `extents` elements of `size` bytes from `x` at byte `start` with byte strides to `y` in row-major order.
/// The innermost run of contiguous elements is copied at once.
fn copy_strided(
    x: &[u8],
    start: usize,
    strides: &[isize],
    extents: &[usize],
    size: usize,
    y: &mut [u8],
) -> Result<(), String> {
    if extents.contains(&0) {
        return Ok(());
    }
    // Where the last element lies: checked once, so that every index below is in range.
    let (mut low, mut high) = (start as i128, start as i128);
    for (s, e) in strides.iter().zip(extents) {
        let reach = *s as i128 * (*e as i128 - 1);
        *(if reach < 0 { &mut low } else { &mut high }) += reach;
    }
    if low < 0 || high + size as i128 > x.len() as i128 {
        return Err("the operand is smaller than the result needs".into());
    }
    let mut run = size;
    let mut rank = extents.len();
    while rank > 0 && (strides[rank - 1] == run as isize || extents[rank - 1] == 1) {
        run *= extents[rank - 1];
        rank -= 1;
    }
    let (extents, strides) = (&extents[..rank], &strides[..rank]);
    if run * extents.iter().product::<usize>() != y.len() {
        return Err("the result has another size".into());
    }
    let mut index = vec![0usize; rank];
    let mut at = start as isize;
    for out in y.chunks_exact_mut(run) {
        match run {
            4 => out.copy_from_slice(&x[at as usize..at as usize + 4]),
            8 => out.copy_from_slice(&x[at as usize..at as usize + 8]),
            _ => out.copy_from_slice(&x[at as usize..at as usize + run]),
        }
        for axis in (0..rank).rev() {
            index[axis] += 1;
            at += strides[axis];
            if index[axis] < extents[axis] {
                break;
            }
            at -= strides[axis] * extents[axis] as isize;
            index[axis] = 0;
        }
    }
    Ok(())
}

fn element_size(x: &Operand<'_>) -> Result<usize, String> {
    x.dtype.size().ok_or_else(|| format!("elements of {} cannot be moved one by one", x.dtype))
}

/// Row-major byte strides.
fn byte_strides(shape: &[usize], size: usize) -> Vec<isize> {
    contiguous_strides(shape).into_iter().map(|s| s.saturating_mul(size) as isize).collect()
}

pub(super) fn transpose(cx: &Cx<'_>, perm: &[usize], x: Operand<'_>, y: &mut Output<'_>) -> Result<(), String> {
    let size = element_size(&x)?;
    let fits = perm.len() == x.shape.len()
        && perm.len() == y.shape.len()
        && perm.iter().zip(y.shape).all(|(p, e)| x.shape.get(*p) == Some(e))
        && (0..perm.len()).all(|axis| perm.contains(&axis));
    if !fits {
        return Err(format!("{:?} does not transpose to {:?} by {perm:?}", x.shape, y.shape));
    }
    if matches!(size, 1 | 2 | 4 | 8) {
        crate::transpose::transpose(cx.par, size, x.shape, perm, x.bytes, y.bytes);
        return Ok(());
    }
    let strides = byte_strides(x.shape, size);
    let strides: Vec<isize> = perm.iter().map(|p| strides[*p]).collect();
    copy_strided(x.bytes, 0, &strides, y.shape, size, y.bytes)
}

pub(super) fn slice(cx: &Cx<'_>, slice: &Slice, x: Operand<'_>, y: &mut Output<'_>) -> Result<(), String> {
    let size = element_size(&x)?;
    let rank = x.shape.len();
    if slice.starts.len() != rank || slice.steps.len() != rank || y.shape.len() != rank {
        return Err(format!("a slice of {} axes of a tensor of {rank}", slice.starts.len()));
    }
    let (mut start, mut strides) = (0i64, byte_strides(x.shape, size));
    for (i, stride) in strides.iter_mut().enumerate() {
        let first = cx.dim(&slice.starts[i])?;
        let reach = (y.shape[i] as i64).saturating_sub(1).checked_mul(slice.steps[i]);
        let last = reach.and_then(|r| first.checked_add(r));
        let inside = |v: i64| v >= 0 && v < x.shape[i] as i64;
        let empty = y.shape.contains(&0);
        if !(empty || inside(first) && last.is_some_and(inside)) {
            return Err(format!("elements {first} by {} of axis {i} are outside {:?}", slice.steps[i], x.shape));
        }
        start = start.saturating_add(first.saturating_mul(*stride as i64));
        *stride = (*stride as i64).saturating_mul(slice.steps[i]) as isize;
    }
    copy_strided(x.bytes, start.max(0) as usize, &strides, y.shape, size, y.bytes)
}

pub(super) fn concat(axis: usize, inputs: &[Option<Operand<'_>>], y: &mut Output<'_>) -> Result<(), String> {
    let size = y.dtype.size().ok_or_else(|| format!("elements of {} cannot be moved one by one", y.dtype))?;
    let Some(extent) = y.shape.get(axis) else { return Err(format!("no axis {axis} in {:?}", y.shape)) };
    let outer: usize = y.shape[..axis].iter().product();
    let inner: usize = y.shape[axis + 1..].iter().product::<usize>() * size;
    let row = extent * inner;
    let mut at = 0;
    for x in inputs.iter().flatten() {
        let fits = x.shape.len() == y.shape.len()
            && (0..y.shape.len()).all(|i| i == axis || x.shape[i] == y.shape[i])
            && at + x.shape[axis] * inner <= row
            && x.dtype == y.dtype;
        if !fits {
            return Err(format!("{:?} does not fit into {:?} along axis {axis}", x.shape, y.shape));
        }
        let part = x.shape[axis] * inner;
        for o in 0..if part == 0 { 0 } else { outer } {
            y.bytes[o * row + at..o * row + at + part].copy_from_slice(&x.bytes[o * part..(o + 1) * part]);
        }
        at += part;
    }
    if at == row || outer == 0 { Ok(()) } else { Err(format!("operands do not fill {:?} along axis {axis}", y.shape)) }
}

/// `[x, indices] -> [out]`: whole runs of elements at indexed positions of an axis.
pub(super) fn gather(axis: usize, x: Operand<'_>, indices: Operand<'_>, y: &mut Output<'_>) -> Result<(), String> {
    let size = element_size(&x)?;
    let Some(extent) = x.shape.get(axis).copied() else { return Err(format!("no axis {axis} in {:?}", x.shape)) };
    let expected: Vec<usize> = [&x.shape[..axis], indices.shape, &x.shape[axis + 1..]].concat();
    if expected != y.shape {
        return Err(format!("indices {:?} of axis {axis} of {:?} do not give {:?}", indices.shape, x.shape, y.shape));
    }
    let positions: Vec<i64> = match indices.dtype {
        DType::I64 => indices.elements::<i64>()?.to_vec(),
        DType::I32 => indices.elements::<i32>()?.iter().map(|i| i64::from(*i)).collect(),
        other => return Err(format!("indices of {other}")),
    };
    let place = |i: i64| {
        let at = if i < 0 { i.checked_add(extent as i64) } else { Some(i) };
        at.and_then(|at| usize::try_from(at).ok()).filter(|at| *at < extent)
    };
    let outer: usize = x.shape[..axis].iter().product();
    let run = x.shape[axis + 1..].iter().product::<usize>() * size;
    if run == 0 || outer == 0 {
        return Ok(());
    }
    let mut out = y.bytes.chunks_exact_mut(run);
    for o in 0..outer {
        for i in &positions {
            let at = place(*i).ok_or_else(|| format!("index {i} is out of range for axis {axis} of {:?}", x.shape))?;
            let from = (o * extent + at) * run;
            if let Some(to) = out.next() {
                to.copy_from_slice(&x.bytes[from..from + run]);
            }
        }
    }
    Ok(())
}

/// Operands in channel blocks along axis 1: all but the last have whole blocks.
pub(super) fn concat_blocked(inputs: &[Option<Operand<'_>>], y: &mut Output<'_>) -> Result<(), String> {
    let [n, c, spatial @ ..] = y.shape else { return Err(format!("{:?} has no channels", y.shape)) };
    let block = spatial.iter().product::<usize>() * 16 * (y.dtype.bits() / 8);
    let image = c.div_ceil(16) * block;
    let mut at = 0;
    for x in inputs.iter().flatten() {
        let fits = x.shape.len() == y.shape.len()
            && x.dtype == y.dtype
            && x.shape[0] == *n
            && x.shape[2..] == *spatial
            && (x.shape[1].is_multiple_of(16) || at + x.shape[1].div_ceil(16) * block == image);
        let part = x.shape.get(1).map_or(0, |c| c.div_ceil(16) * block);
        if !fits || at + part > image || x.bytes.len() != part * n {
            return Err(format!("{:?} does not fit into {:?} by channel blocks", x.shape, y.shape));
        }
        for i in 0..if part == 0 { 0 } else { *n } {
            y.bytes[i * image + at..i * image + at + part].copy_from_slice(&x.bytes[i * part..(i + 1) * part]);
        }
        at += part;
    }
    if at == image { Ok(()) } else { Err(format!("operands do not fill {:?} along the channels", y.shape)) }
}

/// Whole channel blocks of a blocked tensor.
pub(super) fn slice_blocked(cx: &Cx<'_>, slice: &Slice, x: Operand<'_>, y: &mut Output<'_>) -> Result<(), String> {
    let wrong = || format!("{:?} is not whole channel blocks of {:?}", y.shape, x.shape);
    let ([n, c, spatial @ ..], [m, d, rest @ ..]) = (x.shape, y.shape) else { return Err(wrong()) };
    let starts = slice.starts.iter().map(|s| cx.dim(s)).collect::<Result<Vec<_>, _>>()?;
    let channels_only =
        starts.iter().enumerate().all(|(i, s)| i == 1 || *s == 0) && slice.steps.iter().all(|s| *s == 1);
    let first = starts.get(1).and_then(|s| usize::try_from(*s).ok()).ok_or_else(wrong)?;
    let whole = first.is_multiple_of(16) && (d.is_multiple_of(16) || first + d == *c) && first + d <= *c;
    if n != m || spatial != rest || !channels_only || !whole || x.dtype != y.dtype {
        return Err(wrong());
    }
    let block = spatial.iter().product::<usize>() * 16 * (y.dtype.bits() / 8);
    let (image, part, at) = (c.div_ceil(16) * block, d.div_ceil(16) * block, first / 16 * block);
    for i in 0..if part == 0 { 0 } else { *n } {
        y.bytes[i * part..(i + 1) * part].copy_from_slice(&x.bytes[i * image + at..i * image + at + part]);
    }
    Ok(())
}
