//! Depthwise convolution in NCHW16c: output-stationary tiles of up to 14 pixels.
//!
//! Pads are not copied. Kernel rows outside the image are skipped, and the tiles at the left and right edges choose for
//! each pixel and tap whether there is an input.

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
        let tiles = p.ow.div_ceil(most);
        for row in self.rows {
            let (plane, oy) = (row / p.oh, row % p.oh);
            for i in 0..tiles {
                let cols = crate::par::part(p.ow, tiles, i);
                let at = (row * p.ow + cols.start) * PANEL;
                let t = Tile { plan: p, plane, oy, ox: cols.start, at };
                width(s, cols.len(), t.inside(cols.len()), &t);
                if let Some((activation, residual)) = p.stages.late {
                    // SAFETY: the tile was just written; a residual has the same layout.
                    unsafe {
                        s.call(LateRun {
                            activation,
                            residual: if residual.is_null() { residual } else { residual.add(at) },
                            data: p.y.add(at),
                            len: cols.len() * PANEL,
                            rows: 1,
                            stride: (0, 0),
                        });
                    }
                }
            }
        }
    }
}

/// A few output pixels of one row.
struct Tile<'a> {
    plan: &'a Plan<'a>,
    plane: usize,
    oy: usize,
    ox: usize,
    at: usize,
}

impl Tile<'_> {
    /// Whether every tap of `w` pixels has an input column.
    fn inside(&self, w: usize) -> bool {
        let c = self.plan.conv;
        let first = self.ox * c.stride.1;
        first >= c.pads_begin.1
            && first + (w - 1) * c.stride.1 + (c.kernel.1 - 1) * c.dilation.1 < c.input.1 + c.pads_begin.1
    }
}

#[inline(always)]
fn width<S: Simd>(s: S, w: usize, inside: bool, t: &Tile<'_>) {
    macro_rules! widths {
        ($($w:literal),*) => {
            match (w, inside) {
                $(($w, true) => s.call(Run::<$w, true>(t)), ($w, false) => s.call(Run::<$w, false>(t)),)*
                _ => unreachable!("tile width"),
            }
        };
    }
    widths!(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14);
}

struct Run<'a, const W: usize, const INSIDE: bool>(&'a Tile<'a>);

impl<const W: usize, const INSIDE: bool> Kernel for Run<'_, W, INSIDE> {
    type Out = ();

    #[inline(always)]
    #[allow(clippy::needless_range_loop, reason = "iterators over the accumulators make the compiler spill them")]
    fn run<S: Simd>(self, s: S) {
        let (t, p, c) = (self.0, self.0.plan, self.0.plan.conv);
        let (h, wd) = c.input;
        let (kh, kw) = c.kernel;
        let block = t.plane % p.blocks;
        let channels = c.channels.0 - block * PANEL;
        let (lo, hi) = (s.splat(p.stages.clamp.0), s.splat(p.stages.clamp.1));
        // A block is several registers wide on narrow tiers: they are independent convolutions.
        for lane in (0..PANEL).step_by(S::LANES) {
            // SAFETY: input rows and columns are checked against the image, per tap where `INSIDE` does not promise
            // it; weights, output and residual hold whole blocks; the bias is read up to the last channel.
            unsafe {
                let bias = if p.bias.is_null() {
                    s.zero()
                } else {
                    s.load_n(p.bias.add(block * PANEL).wrapping_add(lane), channels.saturating_sub(lane).min(S::LANES))
                };
                let mut acc = [bias; W];
                let left = (t.ox * c.stride.1) as isize - c.pads_begin.1 as isize;
                let px = c.stride.1 * PANEL;
                for ky in 0..kh {
                    let y = (t.oy * c.stride.0 + ky * c.dilation.0).wrapping_sub(c.pads_begin.0);
                    if y >= h {
                        continue;
                    }
                    let row = p.x.add((t.plane * h + y) * wd * PANEL + lane);
                    let weights = p.w.add((block * kh + ky) * kw * PANEL + lane);
                    for kx in 0..kw {
                        let wv = s.load(weights.add(kx * PANEL));
                        let x0 = left + (kx * c.dilation.1) as isize;
                        let from = row.wrapping_offset(x0 * PANEL as isize);
                        for i in 0..W {
                            if INSIDE {
                                acc[i] = s.fma(s.load(from.add(i * px)), wv, acc[i]);
                            } else {
                                let x = x0 + (i * c.stride.1) as isize;
                                let exists = (x as usize) < wd;
                                let source = if exists { from.wrapping_add(i * px) } else { ZEROS.0.as_ptr() };
                                acc[i] = s.fma(s.load(source), wv, acc[i]);
                            }
                        }
                    }
                }
                let out = p.y.add(t.at + lane);
                if p.stages.in_place || !p.stages.early.is_null() {
                    let res = if p.stages.in_place { p.y.cast_const() } else { p.stages.early };
                    for i in 0..W {
                        acc[i] = s.add(acc[i], s.load(res.add(t.at + lane + i * PANEL)));
                    }
                }
                for i in 0..W {
                    s.store(out.add(i * PANEL), s.min(hi, s.max(lo, acc[i])));
                }
            }
        }
    }
}

/// What a pixel outside the image reads.
#[repr(align(64))]
struct Zeros([f32; PANEL]);
static ZEROS: Zeros = Zeros([0.0; PANEL]);
