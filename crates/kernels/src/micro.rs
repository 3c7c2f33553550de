//! The register tile: one batch-reduce matrix product that GEMM and convolutions share.
//!
//! `C[pixel, column] = clamp(init + sum over taps t and k of A[t][pixel, k] B[t][k, column] + residual)`, for up to 14
//! pixels and as many columns as the tier's registers hold. "Pixels" are rows of A in a GEMM and output positions in a
//! convolution; they form a grid of `rr x w` with two strides. B is packed in panels of 16 columns. The terms of one
//! element are always added in the order of `t`, then `k`, whatever the tile: that is why results do not depend on
//! how work is cut.

use crate::isa::{Kernel, Simd};
use std::mem::MaybeUninit;

/// Width of a panel of B and of a channel block.
pub(crate) const PANEL: usize = 16;

/// How far ahead of a wide tile its panels are prefetched, in floats: 2 KB hides the latency of L3.
const STREAM_AHEAD: usize = 512;

/// What a tile computes. Distances are in floats.
#[derive(Clone, Copy)]
pub(crate) struct Tile {
    /// First element of A.
    pub(crate) a: *const f32,
    /// Offsets of each tap from `a` and from `b`.
    pub(crate) taps: *const (isize, isize),
    pub(crate) n_taps: usize,
    /// Terms per tap, and terms of each tap from `n_whole` on.
    pub(crate) k: usize,
    pub(crate) n_whole: usize,
    pub(crate) k_last: usize,
    /// Distance between pixels of a row, and between rows of pixels, of A.
    pub(crate) a_px: usize,
    pub(crate) a_row: usize,
    /// First panel of B, and the distance between panels.
    pub(crate) b: *const f32,
    pub(crate) b_panel: usize,
    /// First element of C, and its distances between pixels, rows of pixels and panels.
    pub(crate) c: *mut f32,
    pub(crate) c_px: usize,
    pub(crate) c_row: usize,
    pub(crate) c_panel: usize,
    /// Columns of C to be stored, and of `bias` to be read: at most 16 per panel of the tile.
    pub(crate) cols: usize,
    pub(crate) bias_cols: usize,
    /// Starts from what C holds, to which the bias is added.
    pub(crate) accumulate: bool,
    /// Bias per column, or null.
    pub(crate) bias: *const f32,
    /// Bias per pixel, or null; added after the sum.
    pub(crate) row_bias: *const f32,
    /// Added after the sum, or null.
    pub(crate) residual: *const f32,
    pub(crate) res_px: usize,
    pub(crate) res_row: usize,
    pub(crate) res_panel: usize,
    /// Bounds of the result.
    pub(crate) clamp: (f32, f32),
    /// Memory that will be needed soon, and by how much to move on after each `k`. Never dereferenced, and not used by
    /// tiles of four or more panels.
    pub(crate) ahead: *const f32,
    pub(crate) ahead_step: usize,
}

struct Run<'a, const RR: usize, const W: usize, const NV: usize>(&'a Tile);

impl<const RR: usize, const W: usize, const NV: usize> Kernel for Run<'_, RR, W, NV> {
    type Out = ();

    #[inline(always)]
    #[allow(clippy::needless_range_loop, reason = "iterators over the accumulators make the compiler spill them")]
    fn run<S: Simd>(self, s: S) {
        let t = self.0;
        let lanes = S::LANES;
        let col = column::<S>;
        let whole = t.cols == NV * lanes;
        // A wide, low tile reads B once: it is limited by how fast its streams arrive.
        let wide = NV * lanes / PANEL >= 4;
        let mut acc = [[[s.zero(); NV]; W]; RR];
        // SAFETY: whoever builds a tile guarantees that A holds `rr x w` pixels of `k` values at every tap, that B holds
        // `n_taps x k` rows of every panel, that C and the residual hold `cols` columns for each pixel, and that biases
        // hold as many values as there are columns and pixels. Partial vectors touch only valid columns.
        unsafe {
            if t.accumulate {
                let mut buffer = Buffer::new();
                let (from, row, px, panel) = if whole {
                    (t.c.cast_const(), t.c_row, t.c_px, t.c_panel)
                } else {
                    partial_load(s, t, RR, W, NV, &mut buffer);
                    (buffer.ptr().cast_const(), W * NV * lanes, NV * lanes, PANEL)
                };
                for r in 0..RR {
                    for i in 0..W {
                        for j in 0..NV {
                            acc[r][i][j] = s.load(from.add(r * row + i * px + col(j, panel)));
                        }
                    }
                }
            }
            if !t.bias.is_null() {
                for j in 0..NV {
                    let v = s.load_n(t.bias.wrapping_add(j * lanes), valid::<S>(j, t.bias_cols));
                    for r in 0..RR {
                        for i in 0..W {
                            acc[r][i][j] = if t.accumulate { s.add(v, acc[r][i][j]) } else { v };
                        }
                    }
                }
            }
            let mut ahead = t.ahead;
            for tap in 0..t.n_taps {
                let (at, from) = *t.taps.add(tap);
                let (mut a, mut b) = (t.a.wrapping_offset(at), t.b.wrapping_offset(from));
                for _ in 0..if tap < t.n_whole { t.k } else { t.k_last } {
                    if wide {
                        for p in 0..NV * lanes / PANEL {
                            s.prefetch(b.wrapping_add(p * t.b_panel + STREAM_AHEAD));
                        }
                    } else {
                        s.prefetch(ahead);
                        ahead = ahead.wrapping_add(t.ahead_step);
                    }
                    let mut bv = [s.zero(); NV];
                    for j in 0..NV {
                        bv[j] = s.load(b.add(col(j, t.b_panel)));
                    }
                    for r in 0..RR {
                        for i in 0..W {
                            let av = s.splat(*a.add(r * t.a_row + i * t.a_px));
                            for j in 0..NV {
                                acc[r][i][j] = s.fma(av, bv[j], acc[r][i][j]);
                            }
                        }
                    }
                    a = a.add(1);
                    b = b.add(PANEL);
                }
            }
            if whole && t.row_bias.is_null() {
                if !t.residual.is_null() {
                    for r in 0..RR {
                        for i in 0..W {
                            for j in 0..NV {
                                let from = t.residual.add(r * t.res_row + i * t.res_px + col(j, t.res_panel));
                                acc[r][i][j] = s.add(acc[r][i][j], s.load(from));
                            }
                        }
                    }
                }
                let (lo, hi) = (s.splat(t.clamp.0), s.splat(t.clamp.1));
                for r in 0..RR {
                    for i in 0..W {
                        for j in 0..NV {
                            let c = t.c.add(r * t.c_row + i * t.c_px + col(j, t.c_panel));
                            s.store(c, s.min(hi, s.max(lo, acc[r][i][j])));
                        }
                    }
                }
            } else {
                let mut buffer = Buffer::new();
                let sums = buffer.ptr();
                for r in 0..RR {
                    for i in 0..W {
                        for j in 0..NV {
                            s.store(sums.add(((r * W + i) * NV + j) * lanes), acc[r][i][j]);
                        }
                    }
                }
                finish(s, t, RR, W, NV, sums);
            }
        }
    }
}

/// A tile in memory, packed. What does not unroll goes through it, so that accumulators stay in registers.
#[repr(align(64))]
pub(crate) struct Buffer(MaybeUninit<[f32; Buffer::LEN]>);

impl Buffer {
    /// The largest tile: 28 registers of 16 lanes.
    const LEN: usize = 28 * 16;

    #[inline(always)]
    pub(crate) fn new() -> Self {
        Self(MaybeUninit::uninit())
    }

    #[inline(always)]
    pub(crate) fn ptr(&mut self) -> *mut f32 {
        self.0.as_mut_ptr().cast()
    }
}

/// Offset of vector `j` of a tile row, given the distance between panels.
#[inline(always)]
fn column<S: Simd>(j: usize, panel: usize) -> usize {
    j * S::LANES / PANEL * panel + j * S::LANES % PANEL
}

/// How many lanes of vector `j` are columns below `cols`.
#[inline(always)]
pub(crate) fn valid<S: Simd>(j: usize, cols: usize) -> usize {
    cols.saturating_sub(j * S::LANES).min(S::LANES)
}

/// Reads a tile whose last columns do not exist.
///
/// # Safety
/// C must be valid, and the tile fit the buffer.
#[inline(always)]
unsafe fn partial_load<S: Simd>(s: S, t: &Tile, rr: usize, w: usize, nv: usize, buffer: &mut Buffer) {
    for v in 0..rr * w * nv {
        let (r, i, j) = (v / nv / w, v / nv % w, v % nv);
        let c = t.c.wrapping_add(r * t.c_row + i * t.c_px + column::<S>(j, t.c_panel));
        // SAFETY: only existing columns are read, and the tile fits the buffer.
        unsafe { s.store(buffer.ptr().add(v * S::LANES), s.load_n(c, valid::<S>(j, t.cols))) };
    }
}

/// Stores a tile with everything an epilogue may ask for.
///
/// # Safety
/// `sums` must hold the tile; C, the biases and the residual must be valid.
#[inline(always)]
pub(crate) unsafe fn finish<S: Simd>(s: S, t: &Tile, rr: usize, w: usize, nv: usize, sums: *const f32) {
    let (lo, hi) = (s.splat(t.clamp.0), s.splat(t.clamp.1));
    for v in 0..rr * w * nv {
        let (r, i, j) = (v / nv / w, v / nv % w, v % nv);
        let n = valid::<S>(j, t.cols);
        // SAFETY: only existing columns are read and written, and a pixel bias exists for each pixel.
        unsafe {
            let mut sum = s.load(sums.add(v * S::LANES));
            if !t.row_bias.is_null() {
                sum = s.add(sum, s.splat(*t.row_bias.add(r * w + i)));
            }
            if !t.residual.is_null() {
                let res = t.residual.wrapping_add(r * t.res_row + i * t.res_px + column::<S>(j, t.res_panel));
                sum = s.add(sum, s.load_n(res, n));
            }
            let c = t.c.wrapping_add(r * t.c_row + i * t.c_px + column::<S>(j, t.c_panel));
            s.store_n(c, n, s.min(hi, s.max(lo, sum)));
        }
    }
}

/// The rows and pixels of a row that register tiles have, of f32 and of bytes: calls a function with a tile's own as
/// constants, between its tier and its registers of columns. The function builds those that the tier's registers hold.
macro_rules! tile_shape {
    ($one:ident::<$s:ty, $nv:ident>($rr:expr, $w:expr; $($arg:expr),*)) => {
        crate::micro::tile_shape!(@ $one, $s, $nv, $rr, $w, ($($arg),*);
            1 1, 1 2, 1 3, 1 4, 1 5, 1 6, 1 7, 1 8, 1 9, 1 10, 1 11, 1 12, 1 13, 1 14,
            2 2, 2 3, 2 4, 2 5, 2 6, 2 7, 3 3, 3 4)
    };
    (@ $one:ident, $s:ty, $nv:ident, $rr:expr, $w:expr, $args:tt; $($r:literal $c:literal),*) => {
        match ($rr, $w) {
            $(($r, $c) => $one::<$s, $r, $c, $nv> $args,)*
            _ => unreachable!("tile shape"),
        }
    };
}
pub(crate) use tile_shape;

/// Runs a tile of `rr x w` pixels and `nv` registers of columns.
///
/// # Safety
/// The memory that `t` describes must be valid, see [`Tile`], and C disjoint from everything but an identical residual.
/// `rr * w <= S::TILE_ROWS[log2 nv]`, `rr <= w`, `rr <= 3`.
#[inline(always)]
pub(crate) unsafe fn tile<S: Simd>(s: S, rr: usize, w: usize, nv: usize, t: &Tile) {
    debug_assert!(rr * w <= S::TILE_ROWS[nv.trailing_zeros() as usize], "tile {rr}x{w}x{nv}");
    match nv {
        1 => shape::<S, 1>(s, rr, w, t),
        2 => shape::<S, 2>(s, rr, w, t),
        4 => shape::<S, 4>(s, rr, w, t),
        8 => shape::<S, 8>(s, rr, w, t),
        16 => shape::<S, 16>(s, rr, w, t),
        _ => unreachable!("tile width"),
    }
}

#[inline(always)]
fn shape<S: Simd, const NV: usize>(s: S, rr: usize, w: usize, t: &Tile) {
    tile_shape!(one::<S, NV>(rr, w; s, t));
}

#[inline(always)]
fn one<S: Simd, const RR: usize, const W: usize, const NV: usize>(s: S, t: &Tile) {
    if const { RR * W <= S::TILE_ROWS[NV.trailing_zeros() as usize] } {
        s.call(Run::<RR, W, NV>(t));
    } else {
        unreachable!("tile size");
    }
}
