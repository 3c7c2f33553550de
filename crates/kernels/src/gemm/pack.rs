//! Packing of B into panels of 16 columns, and the transposition of A.

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
