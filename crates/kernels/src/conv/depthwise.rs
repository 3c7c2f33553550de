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
        // 14 accumulators hide the latency of FMA; with 16 registers 12 are left, and 10 divides common widths better. Each
        // width is a function of its own, and those of five taps are long: 8 do too.
        let known = p.conv.known(p.ow);
        let most = match (known, S::TILE_ROWS[1] == 6) {
            (Some(_), _) if p.conv.kernel.1 == 5 => 8,
            (_, true) => 10,
            _ => 14,
        };
        // Where it is known at compile time which taps the first and last pixels lack, whole rows are tiled; otherwise edge
        // pixels are computed one by one.
        let tiled = if known.is_some() { 0..p.ow } else { p.conv.inside(p.ow) };
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
                } else if let Some((left, right)) = known {
                    let left = if cols.start == 0 { left } else { 0 };
                    let right = if cols.end == p.ow { right } else { 0 };
                    cut(s, (left, right), cols.len(), &t);
                } else {
                    width::<S, 0, 0, 0, 0>(s, cols.len(), &t);
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

    /// How many taps the first output column lacks on the left and the last on the right, if [`cut`] is built for that.
    fn known(&self, ow: usize) -> Option<(usize, usize)> {
        let last = (ow.checked_sub(1)?) * self.stride.1 + self.kernel.1;
        let (left, right) = (self.pads_begin.1, last.saturating_sub(self.input.1 + self.pads_begin.1));
        let built = match self.kernel.1 {
            3 => left <= 1 && right <= 1,
            5 => matches!(left, 0 | 2) && right <= 2,
            _ => false,
        };
        (built && self.dilation.1 == 1 && self.stride.1 <= 2).then_some((left, right))
    }
}

/// Every tap of every pixel has to be checked.
const CHECK: usize = usize::MAX;

/// A tile of which the first pixel lacks taps on the left, and the last on the right.
#[inline(always)]
fn cut<S: Simd>(s: S, lacks: (usize, usize), w: usize, t: &Tile<'_>) {
    macro_rules! cases {
        ($($kw:literal $stride:literal: $($left:literal $right:literal),*;)*) => {
            match (t.plan.conv.kernel.1, t.plan.conv.stride.1, lacks) {
                $($(($kw, $stride, ($left, $right)) => width::<S, $kw, $stride, $left, $right>(s, w, t),)*)*
                _ => unreachable!("taps of a tile"),
            }
        };
    }
    cases!(
        3 1: 0 0, 0 1, 1 0, 1 1;
        3 2: 0 0, 0 1, 1 0, 1 1;
        5 1: 0 0, 0 1, 0 2, 2 0, 2 1, 2 2;
        5 2: 0 0, 0 1, 0 2, 2 0, 2 1, 2 2;
    );
}

#[inline(always)]
fn width<S: Simd, const KW: usize, const STRIDE: usize, const LEFT: usize, const RIGHT: usize>(
    s: S,
    w: usize,
    t: &Tile<'_>,
) {
    macro_rules! widths {
        ($($w:literal),*) => {
            match w {
                $($w => one::<S, $w, KW, STRIDE, LEFT, RIGHT>(s, t),)*
                _ => unreachable!("tile width"),
            }
        };
    }
    widths!(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14);
}

#[inline(always)]
fn one<S: Simd, const W: usize, const KW: usize, const STRIDE: usize, const LEFT: usize, const RIGHT: usize>(
    s: S,
    t: &Tile<'_>,
) {
    if const { KW < 5 || W <= 8 } {
        s.call(Run::<W, KW, STRIDE, LEFT, RIGHT>(t));
    } else {
        unreachable!("tile width");
    }
}

/// `KW` and `STRIDE` are the width and the stride of the kernel if they are known, or 0: short loops of unknown length and
/// addresses of unknown distance cost as much as the products.
struct Run<'a, const W: usize, const KW: usize, const STRIDE: usize, const LEFT: usize, const RIGHT: usize>(
    &'a Tile<'a>,
);

impl<const W: usize, const KW: usize, const STRIDE: usize, const LEFT: usize, const RIGHT: usize> Kernel
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
            // SAFETY: input rows are checked against the image here, and columns either here or by `Conv2d::inside` or
            // `Conv2d::known`; weights, output and residual hold whole blocks; the bias is read up to the last channel.
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
                                let absent = LEFT != CHECK
                                    && (i * STRIDE + kx < LEFT || (W - 1 - i) * STRIDE + kw - 1 - kx < RIGHT);
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
