//! Walking shapes.

use super::{InterpError, MAX_ELEMENTS, Result, shape_error};
use planc_tensor::element_count;

/// Number of elements; the largest number there is where it overflows.
pub(super) fn count(shape: &[usize]) -> usize {
    element_count(shape).unwrap_or(usize::MAX)
}

/// Every index of `shape`, row-major.
pub(super) fn indices(shape: &[usize]) -> impl Iterator<Item = Vec<usize>> {
    let shape = shape.to_vec();
    (0..count(&shape)).map(move |flat| unflatten(&shape, flat))
}

/// The index of element number `flat`; no extent is 0.
pub(super) fn unflatten(shape: &[usize], mut flat: usize) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (i, d) in shape.iter().enumerate().rev() {
        index[i] = flat % d;
        flat /= d;
    }
    index
}

/// The number of the element at `index`.
pub(super) fn flatten(shape: &[usize], index: &[usize]) -> usize {
    shape.iter().zip(index).fold(0, |flat, (d, i)| flat * d + i)
}

/// Checks that `axis` is one of `rank` axes.
pub(super) fn check_axis(axis: usize, rank: usize) -> Result<()> {
    if axis < rank { Ok(()) } else { shape_error(format!("axis {axis} is out of range for rank {rank}")) }
}

/// Extents before `axis`, at it, and after it, multiplied up.
pub(super) fn around(shape: &[usize], axis: usize) -> Result<(usize, usize, usize)> {
    check_axis(axis, shape.len())?;
    let (outer, inner) = (count(&shape[..axis]), count(&shape[axis + 1..]));
    if outer.checked_mul(inner).is_none_or(|n| n > MAX_ELEMENTS) {
        return Err(InterpError::Limit(format!("{shape:?} has too many lines along axis {axis}")));
    }
    Ok((outer, shape[axis], inner))
}
