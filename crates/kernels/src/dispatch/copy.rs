//! Kernels that only move elements.

use super::{Cx, Operand, Output};
use planc_kir::Slice;
use planc_tensor::contiguous_strides;

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

pub(super) fn transpose(_: &Cx<'_>, perm: &[usize], x: Operand<'_>, y: &mut Output<'_>) -> Result<(), String> {
    let size = element_size(&x)?;
    let fits = perm.len() == x.shape.len()
        && perm.len() == y.shape.len()
        && perm.iter().zip(y.shape).all(|(p, e)| x.shape.get(*p) == Some(e));
    if !fits {
        return Err(format!("{:?} does not transpose to {:?} by {perm:?}", x.shape, y.shape));
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
