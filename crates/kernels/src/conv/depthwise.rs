//! Depthwise convolution in NCHW16c: output-stationary tiles of up to 14 pixels.
//!
//! Pads are not copied: kernel rows outside the image are skipped, and so are the products of pixels at the left and
//! right edges that have no input.

use super::{Conv2d, channel_bias, check_residual};
use crate::epilogue::{Epilogue, LateRun, Stages};
use crate::isa::{Isa, Kernel, Simd};
use crate::micro::PANEL;
use crate::par::{Parallel, ranges};

/// Packs weights `[c][1][kh][kw]` as `[c / 16][kh][kw][16]` for [`conv_depthwise`], with zeros where there are no
/// channels.
///
/// # Panics
/// If `w` is too short or the convolution is not [`Conv2d::is_depthwise`].
pub fn pack_depthwise_weights(conv: &Conv2d, w: &[f32]) -> Vec<f32> {
    conv.check();
    assert!(conv.is_depthwise(), "not a depthwise convolution");
    let (c, taps) = (conv.channels.0, conv.kernel.0 * conv.kernel.1);
    crate::gemm::pack_b(taps, c, w, 1, taps)
}

/// Depthwise convolution from NCHW16c to NCHW16c. The bias is per channel; a residual has the layout of the output.
///
/// # Panics
/// If the convolution is not [`Conv2d::is_depthwise`], or a slice is shorter than needed ([`Conv2d::input_len`],
/// [`pack_depthwise_weights`], [`Conv2d::output_len`]).
pub fn conv_depthwise(
    isa: Isa,
    par: &dyn Parallel,
    conv: &Conv2d,
    x: &[f32],
    w: &[f32],
    y: &mut [f32],
    epilogue: &Epilogue<'_>,
) {
    conv.check();
    assert!(conv.is_depthwise(), "not a depthwise convolution");
    let blocks = conv.channels.0.div_ceil(PANEL);
    let (oh, ow) = conv.output();
    let taps = conv.kernel.0 * conv.kernel.1;
    assert!(x.len() >= conv.input_len(), "x: slice too short");
    assert!(w.len() >= blocks * taps * PANEL, "weights: slice too short");
    assert!(y.len() >= conv.output_len(), "y: slice too short");
    check_residual(epilogue, conv.output_len());
    if ow == 0 {
        return;
    }
    let plan = Plan {
        conv,
        oh,
        ow,
        blocks,
        x: x.as_ptr(),
        w: w.as_ptr(),
        bias: channel_bias(epilogue, conv.channels.0),
        stages: epilogue.stages(y.as_ptr()),
        y: y.as_mut_ptr(),
    };
    let plan = &plan;
    ranges(par, conv.batch * blocks * oh, 2 * taps * ow * PANEL, |rows| isa.run(Rows { plan, rows }));
}

struct Plan<'a> {
    conv: &'a Conv2d,
    oh: usize,
    ow: usize,
    blocks: usize,
    x: *const f32,
    w: *const f32,
    bias: *const f32,
    stages: Stages,
    y: *mut f32,
}

// SAFETY: tasks write disjoint rows of the output and only read the rest.
unsafe impl Sync for Plan<'_> {}

/// A range of output rows, counted over all planes.
struct Rows<'a> {
    plan: &'a Plan<'a>,
    rows: std::ops::Range<usize>,
}

impl Kernel for Rows<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let p = self.plan;
        // 14 accumulators hide the latency of FMA; with 16 registers 12 are left, and 10 divides common widths better.
        let most = if S::TILE_ROWS[1] == 6 { 10 } else { 14 };
        let inside = p.conv.inside(p.ow);
        // Where 3 columns need at most one pixel of padding on either side, whole rows are tiled and the tiles at the
        // edges leave out one product; otherwise edge pixels are computed one by one.
        let (left, right) = (inside.start, p.ow - inside.end);
        let common = p.conv.kernel.1 == 3 && p.conv.dilation.1 == 1 && p.conv.stride.1 <= 2;
        let one_pad = common && left <= 1 && right <= 1 && !inside.is_empty();
        let tiled = if one_pad { 0..p.ow } else { inside };
        let tiles = tiled.len().div_ceil(most);
        let edges = p.ow - tiled.len();
        let mut row = self.rows.start;
        while row < self.rows.end {
            // The rows of this task that lie in one plane.
            let (plane, first) = (row / p.oh, row % p.oh);
            let count = (self.rows.end - row).min(p.oh - first);
            for i in 0..edges + tiles {
                // Edge pixels one by one, then the inside in even tiles.
                let cols = if i < edges {
                    let ox = if i < tiled.start { i } else { i + tiled.len() };
                    ox..ox + 1
                } else {
                    let cols = crate::par::part(tiled.len(), tiles, i - edges);
                    tiled.start + cols.start..tiled.start + cols.end
                };
                let at = (row * p.ow + cols.start) * PANEL;
                let t = Tile { plan: p, plane, rows: first..first + count, ox: cols.start, at };
                if i < edges {
                    s.call(Run::<1, 0, 0, CHECK, CHECK>(&t));
                } else if one_pad {
                    match (left > 0 && cols.start == 0, right > 0 && cols.end == p.ow) {
                        (false, false) => three::<S, FULL, FULL>(s, cols.len(), &t),
                        (true, false) => three::<S, SHORT, FULL>(s, cols.len(), &t),
                        (false, true) => three::<S, FULL, SHORT>(s, cols.len(), &t),
                        (true, true) => three::<S, SHORT, SHORT>(s, cols.len(), &t),
                    }
                } else {
                    width::<S, 0, 0, FULL, FULL>(s, cols.len(), &t);
                }
                if let Some((activation, residual)) = p.stages.late {
                    // SAFETY: the tile was just written; a residual has the same layout.
                    unsafe {
                        s.call(LateRun {
                            activation,
                            residual: if residual.is_null() { residual } else { residual.add(at) },
                            data: p.y.add(at),
                            len: cols.len() * PANEL,
                            rows: count,
                            stride: (p.ow * PANEL, p.ow * PANEL),
                        });
                    }
                }
            }
            row += count;
        }
    }
}

/// A few neighbouring columns of some output rows of one plane.
struct Tile<'a> {
    plan: &'a Plan<'a>,
    plane: usize,
    rows: std::ops::Range<usize>,
    ox: usize,
    /// Where the first pixel is in the output.
    at: usize,
}

impl Conv2d {
    /// The output columns, of `ow`, of which every tap has an input column.
    fn inside(&self, ow: usize) -> std::ops::Range<usize> {
        let first = self.pads_begin.1.div_ceil(self.stride.1).min(ow);
        let room = (self.input.1 + self.pads_begin.1).checked_sub((self.kernel.1 - 1) * self.dilation.1 + 1);
        let end = room.map_or(0, |room| room / self.stride.1 + 1).min(ow);
        first..end.max(first)
    }
}

/// What is known of the first or last pixel of a tile: it has an input for each kernel column ...
const FULL: u8 = 0;
/// ... for all but the outermost one ...
const SHORT: u8 = 1;
/// ... or nothing.
const CHECK: u8 = 2;

#[inline(always)]
fn three<S: Simd, const LEFT: u8, const RIGHT: u8>(s: S, w: usize, t: &Tile<'_>) {
    if t.plan.conv.stride.1 == 1 {
        width::<S, 3, 1, LEFT, RIGHT>(s, w, t);
    } else {
        width::<S, 3, 2, LEFT, RIGHT>(s, w, t);
    }
}

#[inline(always)]
fn width<S: Simd, const KW: usize, const STRIDE: usize, const LEFT: u8, const RIGHT: u8>(s: S, w: usize, t: &Tile<'_>) {
    macro_rules! widths {
        ($($w:literal),*) => {
            match w {
                $($w => s.call(Run::<$w, KW, STRIDE, LEFT, RIGHT>(t)),)*
                _ => unreachable!("tile width"),
            }
        };
    }
    widths!(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14);
}

/// `KW` and `STRIDE` are the width and the stride of the kernel if they are known, or 0: short loops of unknown length and
/// addresses of unknown distance cost as much as the products.
struct Run<'a, const W: usize, const KW: usize, const STRIDE: usize, const LEFT: u8, const RIGHT: u8>(&'a Tile<'a>);

impl<const W: usize, const KW: usize, const STRIDE: usize, const LEFT: u8, const RIGHT: u8> Kernel
    for Run<'_, W, KW, STRIDE, LEFT, RIGHT>
{
    type Out = ();

    #[inline(always)]
    #[allow(clippy::needless_range_loop, reason = "iterators over the accumulators make the compiler spill them")]
    fn run<S: Simd>(self, s: S) {
        let (t, p, c) = (self.0, self.0.plan, self.0.plan.conv);
        let (h, wd) = c.input;
        let kh = c.kernel.0;
        let kw = if KW > 0 { KW } else { c.kernel.1 };
        let (stride, dilation) = if KW > 0 { (STRIDE, 1) } else { (c.stride.1, c.dilation.1) };
        let block = t.plane % p.blocks;
        let channels = c.channels.0 - block * PANEL;
        let (lo, hi) = (s.splat(p.stages.clamp.0), s.splat(p.stages.clamp.1));
        let px = stride * PANEL;
        let residual = if p.stages.in_place { p.y.cast_const() } else { p.stages.early };
        // A block is several registers wide on narrow tiers: they are independent convolutions.
        for lane in (0..PANEL).step_by(S::LANES) {
            // SAFETY: input rows are checked against the image here, and columns either here or by `Conv2d::inside` and
            // the choice of `LEFT` and `RIGHT`; weights, output and residual hold whole blocks; the bias is read up to the last channel.
            unsafe {
                let bias = if p.bias.is_null() {
                    s.zero()
                } else {
                    s.load_n(p.bias.add(block * PANEL).wrapping_add(lane), channels.saturating_sub(lane).min(S::LANES))
                };
                for (i, oy) in t.rows.clone().enumerate() {
                    let mut acc = [bias; W];
                    for ky in 0..kh {
                        let y = (oy * c.stride.0 + ky * c.dilation.0).wrapping_sub(c.pads_begin.0);
                        if y >= h {
                            continue;
                        }
                        let row = p.x.add((t.plane * h + y) * wd * PANEL + lane);
                        let row = row.wrapping_add(t.ox * px).wrapping_sub(c.pads_begin.1 * PANEL);
                        let weights = p.w.add((block * kh + ky) * kw * PANEL + lane);
                        for kx in 0..kw {
                            let column = (t.ox * stride + kx * dilation).wrapping_sub(c.pads_begin.1);
                            if LEFT == CHECK && column >= wd {
                                continue;
                            }
                            let wv = s.load(weights.add(kx * PANEL));
                            let from = row.wrapping_add(kx * dilation * PANEL);
                            for i in 0..W {
                                let absent =
                                    LEFT == SHORT && i == 0 && kx == 0 || RIGHT == SHORT && i == W - 1 && kx == kw - 1;
                                if !absent {
                                    acc[i] = s.fma(s.load(from.wrapping_add(i * px)), wv, acc[i]);
                                }
                            }
                        }
                    }
                    let at = t.at + i * p.ow * PANEL + lane;
                    if !residual.is_null() {
                        for i in 0..W {
                            acc[i] = s.add(acc[i], s.load(residual.add(at + i * PANEL)));
                        }
                    }
                    for i in 0..W {
                        s.store(p.y.add(at + i * PANEL), s.min(hi, s.max(lo, acc[i])));
                    }
                }
            }
        }
    }
}
