//! The register tile of sums of products of bytes, and where its results go.
//!
//! `sum[pixel, column] = sum over taps t and quads k of x[t][pixel, 4k..4k+4] . w[t][k][column]` in i32: the shape of the
//! f32 tile with four terms where that has one. A tile leaves its sums in a buffer in L1; [`finish`] turns them into
//! results there, so that the number of tiles and the number of epilogues do not multiply.

use super::requant::{Finish, To};
use crate::isa::{ByteKernel, Bytes};
use crate::micro::tile_shape;
use std::mem::MaybeUninit;

/// Columns of a panel of weights and of a channel block.
pub(crate) const PANEL: usize = 16;
/// Bytes of one quad of a panel.
pub(super) const QUAD: usize = 4 * PANEL;

/// How far ahead of a wide tile its panels are prefetched, in bytes.
const STREAM_AHEAD: usize = 2048;

/// What a tile computes. Distances in x and w are in bytes.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    /// First byte of x.
    pub(super) x: *const u8,
    /// Offset of each tap from `x`.
    pub(super) taps: *const isize,
    pub(super) n_taps: usize,
    /// Quads of a tap, and of each tap from `n_whole` on.
    pub(super) quads: usize,
    pub(super) n_whole: usize,
    pub(super) quads_last: usize,
    /// Distance between pixels of a row, and between rows of pixels, of x.
    pub(super) x_px: usize,
    pub(super) x_row: usize,
    /// First panel of weights, the distance between its taps, and between panels.
    pub(super) w: *const i8,
    pub(super) w_tap: usize,
    pub(super) w_panel: usize,
    /// Where the sums go, and how far pixels and panels are apart there, in elements.
    pub(super) sums: *mut i32,
    pub(super) sum_px: usize,
    pub(super) sum_panel: usize,
    /// Memory that will be needed soon, and by how much to move on after each quad. Never dereferenced, and not used by
    /// tiles of four or more panels.
    pub(super) ahead: *const i8,
    pub(super) ahead_step: usize,
}

struct Run<'a, const RR: usize, const W: usize, const NV: usize>(&'a Tile);

impl<const RR: usize, const W: usize, const NV: usize> ByteKernel for Run<'_, RR, W, NV> {
    type Out = ();

    #[inline(always)]
    #[allow(clippy::needless_range_loop, reason = "iterators over the sums make the compiler spill them")]
    fn run<S: Bytes>(self, s: S) {
        let t = self.0;
        // A wide, low tile reads the weights once: it is limited by how fast its streams arrive.
        let wide = NV * S::LANES / PANEL >= 4;
        let mut sums = [[[s.isplat(0); NV]; W]; RR];
        // SAFETY: whoever builds a tile guarantees that x holds `rr x w` pixels of `quads` quads at every tap, that w holds
        // as many rows of every panel, and that the buffer holds the tile.
        unsafe {
            let mut ahead = t.ahead;
            for tap in 0..t.n_taps {
                let mut x = t.x.offset(*t.taps.add(tap));
                let mut w = t.w.add(tap * t.w_tap);
                for _ in 0..if tap < t.n_whole { t.quads } else { t.quads_last } {
                    if wide {
                        for p in 0..NV * S::LANES / PANEL {
                            s.prefetch(w.wrapping_add(p * t.w_panel + STREAM_AHEAD).cast());
                        }
                    } else {
                        s.prefetch(ahead.cast());
                        ahead = ahead.wrapping_add(t.ahead_step);
                    }
                    let mut wv = [s.weights(w); NV];
                    for j in 1..NV {
                        wv[j] = s.weights(w.add(column::<S>(j, t.w_panel, 4)));
                    }
                    for r in 0..RR {
                        for i in 0..W {
                            let xv = s.quad(x.add(r * t.x_row + i * t.x_px));
                            for j in 0..NV {
                                sums[r][i][j] = s.dot(sums[r][i][j], xv, wv[j]);
                            }
                        }
                    }
                    x = x.add(4);
                    w = w.add(QUAD);
                }
            }
            for r in 0..RR {
                for i in 0..W {
                    for j in 0..NV {
                        let to = t.sums.add((r * W + i) * t.sum_px + column::<S>(j, t.sum_panel, 1));
                        s.store_i(to, sums[r][i][j]);
                    }
                }
            }
        }
    }
}

/// Offset of register `j` of a tile row, given the distance between panels and the size of a lane.
#[inline(always)]
fn column<S: Bytes>(j: usize, panel: usize, lane: usize) -> usize {
    j * S::LANES / PANEL * panel + j * S::LANES % PANEL * lane
}

/// Runs a tile of `rr x w` pixels and `panels` panels.
///
/// # Safety
/// The memory that `t` describes must be valid, see [`Tile`]. `rr * w <= S::QUAD_ROWS[log2 nv]` for the `nv` registers of
/// the panels, `rr <= w`, `rr <= 3`.
#[inline(always)]
pub(super) unsafe fn tile<S: Bytes>(s: S, rr: usize, w: usize, panels: usize, t: &Tile) {
    let nv = panels * PANEL / S::LANES;
    debug_assert!(rr * w <= S::QUAD_ROWS[nv.trailing_zeros() as usize], "tile {rr}x{w}x{nv}");
    match nv {
        1 => shape::<S, 1>(s, rr, w, t),
        2 => shape::<S, 2>(s, rr, w, t),
        4 => shape::<S, 4>(s, rr, w, t),
        8 => shape::<S, 8>(s, rr, w, t),
        _ => unreachable!("tile width"),
    }
}

#[inline(always)]
fn shape<S: Bytes, const NV: usize>(s: S, rr: usize, w: usize, t: &Tile) {
    tile_shape!(one::<S, NV>(rr, w; s, t));
}

#[inline(always)]
fn one<S: Bytes, const RR: usize, const W: usize, const NV: usize>(s: S, t: &Tile) {
    if const { RR * W <= S::QUAD_ROWS[NV.trailing_zeros() as usize] } {
        s.call_bytes(Run::<RR, W, NV>(t));
    } else {
        unreachable!("tile size");
    }
}

/// The sums of a tile.
#[repr(align(64))]
pub(super) struct Buffer(MaybeUninit<[i32; Buffer::LEN]>);

impl Buffer {
    /// The largest tile: 28 registers of 16 lanes.
    pub(super) const LEN: usize = 28 * PANEL;

    #[inline(always)]
    pub(super) fn new() -> Self {
        Self(MaybeUninit::uninit())
    }

    #[inline(always)]
    pub(super) fn ptr(&mut self) -> *mut i32 {
        self.0.as_mut_ptr().cast()
    }
}

/// Where the results of a tile's sums go. Distances are in elements.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// Rows of pixels, pixels of a row, panels.
    pub(super) rr: usize,
    pub(super) w: usize,
    pub(super) panels: usize,
    /// Distances in the sums.
    pub(super) sum_px: usize,
    pub(super) sum_panel: usize,
    /// First element of the result, and its distances.
    pub(super) at: usize,
    pub(super) px: usize,
    pub(super) row: usize,
    pub(super) panel: usize,
    /// First column of the first panel among the channels, and how many columns exist.
    pub(super) channel: usize,
    pub(super) cols: usize,
}

/// Turns the sums of a tile into results.
///
/// # Safety
/// `sums` must hold the tile that `p` describes; `start`, the parameters and residual of `f`, and `y` be valid for its
/// columns and elements, and nobody else touch those elements of `y`.
#[inline(always)]
pub(super) unsafe fn finish<S: Bytes>(s: S, f: &Finish<'_>, start: *const i32, y: *mut u8, sums: *mut i32, p: &Place) {
    s.call_bytes(Last { f, start, y, sums, p });
}

/// One function for all tiles: inlined into each, its many cases would be compiled as often.
struct Last<'a> {
    f: &'a Finish<'a>,
    start: *const i32,
    y: *mut u8,
    sums: *mut i32,
    p: &'a Place,
}

impl ByteKernel for Last<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Bytes>(self, s: S) {
        // SAFETY: [`finish`] was promised what this needs.
        unsafe { last(s, self.f, self.start, self.y, self.sums, self.p) }
    }
}

/// # Safety
/// As [`finish`].
#[inline(always)]
unsafe fn last<S: Bytes>(s: S, f: &Finish<'_>, start: *const i32, y: *mut u8, sums: *mut i32, p: &Place) {
    // SAFETY: as promised by the caller, for both arms.
    unsafe {
        match f {
            Finish::Requant(q) => match q.to {
                To::Sums => raw(s, start, y.cast(), sums, p),
                _ => super::requant::run(s, q, start, y, sums, p),
            },
            Finish::Each(each) => {
                for panel in 0..p.panels {
                    for px in 0..p.rr * p.w {
                        for lane in (0..PANEL).step_by(S::LANES) {
                            let at = sums.add(panel * p.sum_panel + px * p.sum_px + lane);
                            s.store_i(at, s.iadd(s.load_i(at), s.load_i(start.add(p.channel + panel * PANEL + lane))));
                        }
                    }
                }
                let run = |at: *const i32, len: usize, to: usize| each(to, std::slice::from_raw_parts(at, len));
                if p.sum_px != PANEL || p.panels == 1 && p.px != PANEL {
                    // Rows of a matrix: panels follow each other in the sums and in the result.
                    for px in 0..p.rr * p.w {
                        let to = p.at + px / p.w * p.row + px % p.w * p.px;
                        run(sums.add(px * p.sum_px), p.cols, to);
                    }
                    return;
                }
                for panel in 0..p.panels {
                    for r in 0..p.rr {
                        let (from, to) = (panel * p.sum_panel + r * p.w * PANEL, p.at + panel * p.panel + r * p.row);
                        if p.px == PANEL {
                            run(sums.add(from), p.w * PANEL, to);
                            continue;
                        }
                        for i in 0..p.w {
                            run(sums.add(from + i * PANEL), PANEL, to + i * p.px);
                        }
                    }
                }
            }
        }
    }
}

/// The sums themselves.
///
/// # Safety
/// As [`finish`].
#[inline(always)]
unsafe fn raw<S: Bytes>(s: S, start: *const i32, y: *mut i32, sums: *const i32, p: &Place) {
    for panel in 0..p.panels {
        for px in 0..p.rr * p.w {
            let to = p.at + panel * p.panel + px / p.w * p.row + px % p.w * p.px;
            let from = panel * p.sum_panel + px * p.sum_px;
            for lane in (0..PANEL).step_by(S::LANES) {
                let n = p.cols.saturating_sub(panel * PANEL + lane).min(S::LANES);
                // SAFETY: as promised by the caller; of a last panel only existing columns are written.
                unsafe {
                    let start = s.load_i(start.add(p.channel + panel * PANEL + lane));
                    let v = s.iadd(s.load_i(sums.add(from + lane)), start);
                    if n == S::LANES {
                        s.store_i(y.add(to + lane), v);
                    } else {
                        let mut lanes = [0i32; PANEL];
                        s.store_i(lanes.as_mut_ptr(), v);
                        std::ptr::copy_nonoverlapping(lanes.as_ptr(), y.wrapping_add(to + lane), n);
                    }
                }
            }
        }
    }
}
