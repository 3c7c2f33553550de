//! Permutation of axes for elements of 1, 2, 4 or 8 bytes.
//!
//! Axes that stay neighbours are merged first, so that most permutations become a batch of two-dimensional transposes
//! (done in squares that stay in L1) or of row copies.

use crate::par::{Parallel, Shared, ranges};

/// One axis of the output: its length and the distance of its elements in the input.
#[derive(Clone, Copy)]
struct Axis {
    len: usize,
    from: usize,
    to: usize,
}

/// `y = x` with output axis `i` being input axis `perm[i]`; `size` is the bytes of an element.
///
/// # Panics
/// If `perm` is no permutation of the axes of `shape`, `size` is not 1, 2, 4 or 8, or a slice is too short.
pub fn transpose(par: &dyn Parallel, size: usize, shape: &[usize], perm: &[usize], x: &[u8], y: &mut [u8]) {
    let total = shape.iter().product::<usize>();
    assert!(x.len() >= total * size && y.len() >= total * size, "slice too short");
    assert_eq!(perm.len(), shape.len(), "length of the permutation");
    assert!((0..shape.len()).all(|axis| perm.contains(&axis)), "not a permutation");
    if total == 0 {
        return;
    }
    let axes = merged(shape, perm);
    match size {
        1 => typed::<u8>(par, &axes, x.as_ptr().cast(), Shared::new(y)),
        2 => typed::<[u8; 2]>(par, &axes, x.as_ptr().cast(), Shared::new(y)),
        4 => typed::<[u8; 4]>(par, &axes, x.as_ptr().cast(), Shared::new(y)),
        8 => typed::<[u8; 8]>(par, &axes, x.as_ptr().cast(), Shared::new(y)),
        _ => panic!("elements of {size} bytes"),
    }
}

/// The axes of the output, without those of length 1 and with neighbours that stay neighbours as one.
fn merged(shape: &[usize], perm: &[usize]) -> Vec<Axis> {
    let stride = |axis: usize| shape[axis + 1..].iter().product::<usize>();
    let mut axes: Vec<Axis> = Vec::with_capacity(perm.len() + 1);
    for &axis in perm.iter().filter(|&&axis| shape[axis] != 1) {
        let next = Axis { len: shape[axis], from: stride(axis), to: 0 };
        match axes.last_mut() {
            Some(last) if last.from == next.from * next.len => {
                *last = Axis { len: last.len * next.len, ..next };
            }
            _ => axes.push(next),
        }
    }
    if axes.is_empty() {
        axes.push(Axis { len: 1, from: 1, to: 1 });
    }
    let mut to = 1;
    for axis in axes.iter_mut().rev() {
        axis.to = to;
        to *= axis.len;
    }
    axes
}

/// Side of a square: 16 rows of up to 8 bytes use 16 cache lines on either side.
const SIDE: usize = 16;

/// `x` and `y` hold as many `T` as the axes have elements; `T` has alignment 1.
fn typed<T: Copy>(par: &dyn Parallel, axes: &[Axis], x: *const T, y: Shared<u8>) {
    let x = Shared::from_const(x);
    // The last axis is contiguous in the output; `across` is contiguous in the input.
    let last = axes[axes.len() - 1];
    let across = axes.iter().position(|axis| axis.from == 1).filter(|&i| i + 1 < axes.len());
    let (rows, skip) = match across {
        Some(i) => (axes[i], i),
        None => (Axis { len: 1, from: 0, to: 0 }, axes.len() - 1),
    };
    let outer = axes[..axes.len() - 1].iter().enumerate().filter(move |&(i, _)| i != skip).map(|(_, axis)| *axis);
    let outer: Vec<Axis> = outer.collect();
    let blocks = rows.len.div_ceil(SIDE);
    let units = outer.iter().map(|axis| axis.len).product::<usize>() * blocks;
    ranges(par, units, last.len * rows.len.min(SIDE), |range| {
        let (x, y) = (x.get().cast_const(), y.get().cast::<T>());
        for unit in range {
            let (mut rest, start) = (unit / blocks, unit % blocks * SIDE);
            let height = (rows.len - start).min(SIDE);
            let (mut from, mut to) = (start * rows.from, start * rows.to);
            for axis in outer.iter().rev() {
                from += rest % axis.len * axis.from;
                to += rest % axis.len * axis.to;
                rest /= axis.len;
            }
            // SAFETY: every index is below its axis' length, so all addresses are inside; units write disjoint
            // elements.
            unsafe {
                let (x, y) = (x.add(from), y.add(to));
                if across.is_none() && last.from == 1 {
                    std::ptr::copy_nonoverlapping(x, y, last.len);
                    continue;
                }
                for column in (0..last.len).step_by(SIDE) {
                    let width = (last.len - column).min(SIDE);
                    if height == SIDE && width == SIDE {
                        square::<T, SIDE>(x.add(column * last.from), last.from, y.add(column), rows.to);
                        continue;
                    }
                    for r in 0..height {
                        for c in column..column + width {
                            *y.add(r * rows.to + c) = *x.add(r * rows.from + c * last.from);
                        }
                    }
                }
            }
        }
    });
}

/// A full square with contiguous reads down its columns.
///
/// # Safety
/// `N` rows of `N` elements must be valid on both sides.
unsafe fn square<T: Copy, const N: usize>(x: *const T, from: usize, y: *mut T, to: usize) {
    for r in 0..N {
        for c in 0..N {
            // SAFETY: as promised by the caller; the rows of the square are neighbours in the input.
            unsafe { *y.add(r * to + c) = *x.add(r + c * from) };
        }
    }
}

#[cfg(test)]
mod tests {
    //! Every permutation of a few shapes, for every element size.

    use super::*;
    use crate::check::Threads;
    use crate::par::Serial;

    fn permutations(n: usize) -> Vec<Vec<usize>> {
        if n == 0 {
            return vec![Vec::new()];
        }
        let shorter = permutations(n - 1);
        shorter.iter().flat_map(|p| (0..n).map(move |i| [&p[..i], &[n - 1], &p[i..]].concat())).collect()
    }

    #[test]
    fn every_permutation() {
        for shape in [
            vec![],
            vec![5],
            vec![33, 50],
            vec![3, 17, 40],
            vec![2, 3, 4, 5],
            vec![1, 20, 1, 35],
            vec![4, 0, 3],
            vec![2, 2, 3, 2, 19],
        ] {
            let total = shape.iter().product::<usize>();
            for perm in permutations(shape.len()) {
                let out: Vec<usize> = perm.iter().map(|&axis| shape[axis]).collect();
                for size in [1, 2, 4, 8] {
                    let x: Vec<u8> = (0..total * size).map(|i| (i * 7 + i / 251) as u8).collect();
                    let mut want = Vec::new();
                    for i in 0..total {
                        let (mut rest, mut from) = (i, 0);
                        for (&axis, &len) in perm.iter().zip(&out).rev() {
                            from += rest % len * shape[axis + 1..].iter().product::<usize>();
                            rest /= len;
                        }
                        want.extend_from_slice(&x[from * size..][..size]);
                    }
                    let mut y = vec![0; x.len()];
                    transpose(&Serial, size, &shape, &perm, &x, &mut y);
                    assert_eq!(y, want, "{shape:?} {perm:?} {size}");
                    y.fill(0);
                    transpose(&Threads(3), size, &shape, &perm, &x, &mut y);
                    assert_eq!(y, want, "{shape:?} {perm:?} {size} on three threads");
                }
            }
        }
    }
}
