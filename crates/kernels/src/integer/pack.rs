//! Weights of bytes as the tiles read them: panels of 16 columns in quads of four terms, each panel followed by the sums of
//! its columns.
//!
//! A panel is `[quads][16 columns][4 terms]` of i8, zero filled, and 16 sums as little-endian i32, so that every panel
//! starts on a multiple of 64 bytes. A zero point `z` of x adds `z` times a column's sum to each of its results, which
//! [`starts`] takes off again.

use super::quads::{PANEL, QUAD};

/// Bytes of the sums after a panel.
pub(super) const SUMS: usize = 4 * PANEL;

/// Bytes of a panel of `quads`.
pub(super) fn panel_len(quads: usize) -> usize {
    quads * QUAD + SUMS
}

/// Bytes of a matrix `[k][n]` that [`pack_matrix`] packed.
pub fn packed_matrix_len(k: usize, n: usize) -> usize {
    n.div_ceil(PANEL) * panel_len(k.div_ceil(4))
}

/// Packs `columns` of `quads x 4` terms each, `at(term, column)` being one of them.
fn pack(columns: usize, quads: usize, at: impl Fn(usize, usize) -> i8) -> Vec<u8> {
    let mut out = Vec::with_capacity(columns.div_ceil(PANEL) * panel_len(quads));
    for first in (0..columns).step_by(PANEL) {
        let mut sums = [0i32; PANEL];
        for quad in 0..quads {
            for (i, sum) in sums.iter_mut().enumerate() {
                for term in 0..4 {
                    let w = if first + i < columns { at(4 * quad + term, first + i) } else { 0 };
                    *sum = sum.wrapping_add(w.into());
                    out.push(w as u8);
                }
            }
        }
        out.extend(sums.iter().flat_map(|s| s.to_le_bytes()));
    }
    out
}

/// Packs a row-major matrix `[k][n]`.
///
/// # Panics
/// If `w` is too short.
pub fn pack_matrix(k: usize, n: usize, w: &[i8]) -> Vec<u8> {
    assert!(w.len() >= k * n, "weights: slice too short");
    pack(n, k.div_ceil(4), |term, column| if term < k { w[term * n + column] } else { 0 })
}

/// Packs weights `[m][c][taps]` of a convolution over channel blocks: terms run over blocks of 16 channels, taps, channels
/// of the block.
///
/// # Panics
/// If `w` is too short.
pub fn pack_conv(m: usize, c: usize, taps: usize, w: &[i8]) -> Vec<u8> {
    assert!(w.len() >= m * c * taps, "weights: slice too short");
    pack(m, c.div_ceil(PANEL) * taps * 4, |term, column| {
        let (block, tap, i) = (term / (taps * PANEL), term / PANEL % taps, term % PANEL);
        let channel = block * PANEL + i;
        if channel < c { w[(column * c + channel) * taps + tap] } else { 0 }
    })
}

/// Packs weights `[m][c][taps]` of a convolution of rows with few channels: terms run over taps, then channels, filled to
/// whole quads.
///
/// # Panics
/// If `w` is too short.
pub fn pack_first(m: usize, c: usize, taps: usize, w: &[i8]) -> Vec<u8> {
    assert!(w.len() >= m * c * taps, "weights: slice too short");
    let unit = c.next_multiple_of(4).max(4);
    pack(m, taps * unit / 4, |term, column| {
        let (tap, channel) = (term / unit, term % unit);
        if channel < c { w[(column * c + channel) * taps + tap] } else { 0 }
    })
}

/// What each sum starts from, filled to whole panels: `bias - zero * sum of the column`, wrapping, where `w` is packed in
/// panels of `quads` and `zero` is the zero point of x as u8.
///
/// # Panics
/// If `w` or a bias is too short.
pub fn starts(columns: usize, quads: usize, w: &[u8], zero: i32, bias: Option<&[i32]>) -> Vec<i32> {
    let mut out = Vec::with_capacity(columns.next_multiple_of(PANEL));
    for (first, panel) in (0..columns).step_by(PANEL).zip(w.chunks_exact(panel_len(quads))) {
        for (i, sum) in panel[quads * QUAD..].chunks_exact(4).enumerate() {
            let sum = i32::from_le_bytes([sum[0], sum[1], sum[2], sum[3]]);
            let bias = bias.filter(|_| first + i < columns).map_or(0, |b| b[first + i]);
            out.push(bias.wrapping_sub(zero.wrapping_mul(sum)));
        }
    }
    assert!(out.len() >= columns, "weights: slice too short");
    out
}
