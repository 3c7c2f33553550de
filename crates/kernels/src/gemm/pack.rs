//! Packing of B into panels of 16 columns, in f32 or fewer bits, and the transposition of A.

use super::narrow::{GROUP, GROUP_CODES, Narrow};
use super::{Mat, span};
use crate::micro::PANEL;
use crate::par::{Parallel, Shared, ranges};

/// Floats of a packed `k x n` matrix: columns are padded to a multiple of 16.
pub fn packed_len(k: usize, n: usize) -> usize {
    n.div_ceil(PANEL) * PANEL * k
}

/// Packs B, whose element `(i, j)` is `b[i * rs + j * cs]`.
///
/// Panel `p` holds, for each of the `k` rows, columns `16 p` to `16 p + 15`, with zeros from column `n` on.
///
/// # Panics
/// If `b` is too short.
pub fn pack_b(k: usize, n: usize, b: &[f32], rs: usize, cs: usize) -> Vec<f32> {
    let mut out = vec![0.0; packed_len(k, n)];
    pack_b_into(&crate::par::Serial, k, n, Mat { data: b, rs, cs }, &mut out);
    out
}

/// As [`pack_b`], into memory of at least [`packed_len`] floats.
///
/// # Panics
/// If a slice is too short.
pub fn pack_b_into(par: &dyn Parallel, k: usize, n: usize, b: Mat<'_>, out: &mut [f32]) {
    let panels = n.div_ceil(PANEL);
    assert!(span(k, b.rs, n, b.cs) <= b.data.len(), "b: slice too short");
    assert!(out.len() >= packed_len(k, n), "out: slice too short");
    let to = Shared::new(out);
    ranges(par, panels, k * PANEL, |r| {
        for p in r {
            let width = (n - p * PANEL).min(PANEL);
            // SAFETY: panel `p` is within `out` and written by one task; B was checked above.
            unsafe {
                let panel = std::slice::from_raw_parts_mut(to.get().add(p * PANEL * k), PANEL * k);
                pack_panel(k, width, b.data.as_ptr().add(if k == 0 { 0 } else { p * PANEL * b.cs }), b.rs, b.cs, panel);
            }
        }
    });
}

/// Packs `width <= 16` columns.
///
/// # Safety
/// `b` must be valid for reads at `i * rs + j * cs` for `i < k`, `j < width`.
#[inline(always)]
pub(crate) unsafe fn pack_panel(k: usize, width: usize, b: *const f32, rs: usize, cs: usize, panel: &mut [f32]) {
    if cs == 1 && width == PANEL {
        for (i, row) in panel.chunks_exact_mut(PANEL).enumerate() {
            // SAFETY: row `i < k` holds 16 columns.
            row.copy_from_slice(unsafe { std::slice::from_raw_parts(b.add(i * rs), PANEL) });
        }
        return;
    }
    // Four rows at a time, so that lines of a column-major B are used while they are in L1.
    for (block, rows) in panel.chunks_mut(4 * PANEL).enumerate() {
        for j in 0..PANEL {
            for (i, row) in rows.chunks_exact_mut(PANEL).enumerate() {
                // SAFETY: only existing columns of rows below `k` are read.
                row[j] = if j < width { unsafe { *b.add((block * 4 + i) * rs + j * cs) } } else { 0.0 };
            }
        }
    }
    debug_assert_eq!(panel.len(), k * PANEL);
}

/// Panels of 16-bit floats ([`Narrow::F16`], [`Narrow::Bf16`]) of a `k x n` matrix whose element `(i, j)` has the bits
/// `at(i, j)`.
pub fn pack_half(k: usize, n: usize, at: impl Fn(usize, usize) -> u16) -> Vec<u32> {
    panels(k, n, Narrow::F16, |columns, panel| {
        for (i, row) in panel.chunks_exact_mut(2 * PANEL).enumerate() {
            for (to, j) in row.chunks_exact_mut(2).zip(columns.clone()) {
                to.copy_from_slice(&at(i, j).to_le_bytes());
            }
        }
    })
}

/// Panels of bytes with a factor per column ([`Narrow::I8`]) of a `k x n` matrix whose element `(i, j)` is
/// `at(i, j) * scale(j)`.
pub fn pack_scaled(k: usize, n: usize, at: impl Fn(usize, usize) -> i8, scale: impl Fn(usize) -> f32) -> Vec<u32> {
    panels(k, n, Narrow::I8, |columns, panel| {
        let (codes, scales) = panel.split_at_mut(k * PANEL);
        for (i, row) in codes.chunks_exact_mut(PANEL).enumerate() {
            row.iter_mut().zip(columns.clone()).for_each(|(to, j)| *to = at(i, j) as u8);
        }
        for (to, j) in scales.chunks_exact_mut(4).zip(columns) {
            to.copy_from_slice(&scale(j).to_le_bytes());
        }
    })
}

/// Panels of four-bit numbers with a factor for [`GROUP`] rows of a column ([`Narrow::I4`]) of a `k x n` matrix whose
/// element `(i, j)` is `at(i, j) * scale(i / GROUP, j)`, with `at(i, j)` in -8..=7 and the bits of an f16 for the factor.
pub fn pack_groups(
    k: usize,
    n: usize,
    at: impl Fn(usize, usize) -> i8,
    scale: impl Fn(usize, usize) -> u16,
) -> Vec<u32> {
    panels(k, n, Narrow::I4, |columns, panel| {
        for (g, group) in panel.chunks_exact_mut(Narrow::I4.panel_bytes(GROUP)).enumerate() {
            let (codes, scales) = group.split_at_mut(GROUP_CODES);
            // Four bytes hold eight rows of one column, the first in the lowest bits.
            for (word, to) in codes.chunks_exact_mut(4).enumerate() {
                let (first, j) = (g * GROUP + word / PANEL * 8, columns.start + word % PANEL);
                for (i, byte) in to.iter_mut().enumerate().filter(|_| j < columns.end) {
                    let code = |row: usize| if row < k { at(row, j) as u8 & 15 } else { 0 };
                    *byte = code(first + 2 * i) | code(first + 2 * i + 1) << 4;
                }
            }
            for (to, j) in scales.chunks_exact_mut(2).zip(columns.clone()) {
                to.copy_from_slice(&scale(g, j).to_le_bytes());
            }
        }
    })
}

/// All panels of a matrix in `form`, whose sizes are whole words, zeros where `fill` writes nothing; it is given the columns that exist.
fn panels(k: usize, n: usize, form: Narrow, fill: impl Fn(std::ops::Range<usize>, &mut [u8])) -> Vec<u32> {
    let words = form.panel_bytes(k) / 4;
    let mut out = vec![0; n.div_ceil(PANEL) * words];
    for (p, panel) in out.chunks_exact_mut(words.max(1)).enumerate() {
        fill(p * PANEL..n.min((p + 1) * PANEL), bytemuck::cast_slice_mut(panel));
    }
    out
}

/// Copies any `m x k` matrix to row-major `out`.
pub(crate) fn transpose_into(par: &dyn Parallel, m: usize, k: usize, a: Mat<'_>, out: &mut [f32]) {
    assert!(span(m, a.rs, k, a.cs) <= a.data.len() && out.len() >= m * k, "a: slice too short");
    let to = Shared::new(out);
    ranges(par, m.div_ceil(PANEL), k * PANEL, |r| {
        for block in r {
            let rows = block * PANEL..((block + 1) * PANEL).min(m);
            for j in 0..k {
                for i in rows.clone() {
                    // SAFETY: `i < m`, `j < k`, and each block of rows belongs to one task.
                    unsafe { *to.get().add(i * k + j) = a.data[i * a.rs + j * a.cs] };
                }
            }
        }
    });
}
