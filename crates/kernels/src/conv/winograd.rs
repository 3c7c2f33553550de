//! Winograd's F(4x4, 3x3): convolution with 3 x 3 taps and stride 1 by minimal filtering.
//!
//! `Y = A' [(G w G') . (B' d B)] A` for tiles of 4 x 4 outputs, after Lavin and Gray, "Fast Algorithms for Convolutional
//! Neural Networks" (2015), with the points 0, ±1, ±2 and infinity: 36 products where 144 are needed. The weights are
//! transformed when they are packed; the products are 36 matrix products over the channels. Rounding errors are a few
//! times those of the direct sum.
//!
//! Pads are not copied: tiles at the borders read zeros. A chunk of tiles passes through all three stages before the next
//! begins, so that what is between them stays in L2. Chunks never change what one element's sum is.

use super::{Conv2d, channel_bias, check_residual};
use crate::epilogue::{Epilogue, LateRun, Stages};
use crate::gemm::{Job, row_block};
use crate::isa::{Isa, Kernel, Simd};
use crate::micro::PANEL;
use crate::par::{Parallel, Shared, cut, part};

/// Outputs of a tile in one direction, and inputs: what 3 taps need for them.
const OUT: usize = 4;
const IN: usize = OUT + 2;
/// Elements of a transformed tile.
const POINTS: usize = IN * IN;
/// Floats of transformed input and output that a chunk may have: with the weights of a position they pass through L2.
const CHUNK: usize = 192 * 1024;
/// Least tiles of a chunk, two register tiles of rows: fewer would read the weights too often. Weights that do not fit L2 are
/// read once a chunk, and that took as long as all the products of 256 channels at 14 x 14 pixels when they were cut in two.
const LEAST: usize = 28;

/// The transformation of weights: 6 x 3.
const G: [[f64; 3]; IN] = [
    [1.0 / 4.0, 0.0, 0.0],
    [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
    [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
    [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
    [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
    [0.0, 0.0, 1.0],
];

impl Conv2d {
    /// Whether [`conv_winograd`] can run it: 3 x 3 taps, stride 1, no dilation, one group.
    pub fn is_winograd(&self) -> bool {
        self.groups == 1 && self.kernel == (3, 3) && self.stride == (1, 1) && self.dilation == (1, 1)
    }

    /// Tiles of one image, vertically and horizontally.
    fn tiles(&self) -> (usize, usize) {
        let (oh, ow) = self.output();
        (oh.div_ceil(OUT), ow.div_ceil(OUT))
    }
}

/// Transforms weights `[out][in][3][3]` to `[36][out / 16][in][16 out]` for [`conv_winograd`], with zeros where there are no
/// channels.
///
/// # Panics
/// If `w` is too short or the convolution is not [`Conv2d::is_winograd`].
pub fn pack_winograd_weights(conv: &Conv2d, w: &[f32]) -> Vec<f32> {
    conv.check();
    assert!(conv.is_winograd(), "not a 3 x 3 convolution of stride 1");
    let (ic, oc) = conv.channels;
    assert!(w.len() >= oc * ic * 9, "weights: slice too short");
    let point = oc.div_ceil(PANEL) * ic * PANEL;
    let mut out = vec![0.0; POINTS * point];
    for o in 0..oc {
        for i in 0..ic {
            let taps = &w[(o * ic + i) * 9..][..9];
            let at = (o / PANEL * ic + i) * PANEL + o % PANEL;
            // Columns first: `half[a][q] = sum over p of G[a][p] w[p][q]`.
            let half = G.map(|g| {
                let column = |q: usize| (0..3).map(|p| g[p] * f64::from(taps[p * 3 + q])).sum::<f64>();
                [column(0), column(1), column(2)]
            });
            for (a, row) in half.iter().enumerate() {
                for (b, g) in G.iter().enumerate() {
                    let sum: f64 = row.iter().zip(g).map(|(x, y)| x * y).sum();
                    out[(a * IN + b) * point + at] = sum as f32;
                }
            }
        }
    }
    out
}

/// Floats between tiles of transformed input, and of transformed output: rows a cache line longer than a power of two do not
/// fall on each other in L1.
fn lengths(conv: &Conv2d) -> (usize, usize) {
    let padded = |channels: usize| (channels.div_ceil(PANEL) + 1) * PANEL;
    (padded(conv.channels.0), padded(conv.channels.1))
}

/// Most tiles of a chunk of [`conv_winograd`]: the weights are read once a chunk.
pub fn winograd_chunk(conv: &Conv2d) -> usize {
    let ld = lengths(conv);
    (CHUNK / (POINTS * (ld.0 + ld.1))).max(LEAST)
}

/// How the work is cut, and where transformed tiles are.
struct Cut {
    /// Tiles in all, chunks, and tasks that share the chunks.
    tiles: usize,
    chunks: usize,
    tasks: usize,
    /// Floats between tiles, and between positions, of transformed input and output.
    ld: (usize, usize),
    position: (usize, usize),
}

impl Cut {
    fn new(conv: &Conv2d, par: &dyn Parallel) -> Self {
        let (th, tw) = conv.tiles();
        let tiles = conv.batch * th * tw;
        let ld = lengths(conv);
        let tasks = cut(par, tiles, 2 * POINTS * conv.channels.0 * conv.channels.1.next_multiple_of(PANEL));
        let chunks = tiles.div_ceil(winograd_chunk(conv)).max(tasks).next_multiple_of(tasks.max(1)).min(tiles);
        let longest = tiles.div_ceil(chunks.max(1));
        // An odd number of lines, for the same reason.
        let odd = |ld: usize| ((longest * ld / PANEL) | 1) * PANEL;
        Self { tiles, chunks, tasks, ld, position: (odd(ld.0), odd(ld.1)) }
    }

    /// Floats that one task needs.
    fn scratch(&self) -> usize {
        POINTS * (self.position.0 + self.position.1)
    }
}

/// Scratch for [`conv_winograd`], in floats: transformed tiles of one chunk for each task.
pub fn winograd_scratch(conv: &Conv2d, par: &dyn Parallel) -> usize {
    let cut = Cut::new(conv, par);
    cut.tasks * cut.scratch()
}

/// Convolution from NCHW16c to NCHW16c. The bias is per output channel; a residual has the layout of the output.
///
/// # Panics
/// If the convolution is not [`Conv2d::is_winograd`], or a slice is shorter than needed ([`Conv2d::input_len`],
/// [`pack_winograd_weights`], [`Conv2d::output_len`], [`winograd_scratch`]).
#[allow(clippy::too_many_arguments)]
pub fn conv_winograd(
    isa: Isa,
    par: &dyn Parallel,
    conv: &Conv2d,
    x: &[f32],
    w: &[f32],
    y: &mut [f32],
    epilogue: &Epilogue<'_>,
    scratch: &mut [f32],
) {
    conv.check();
    assert!(conv.is_winograd(), "not a 3 x 3 convolution of stride 1");
    let (ic, oc) = conv.channels;
    let (ib, ob) = (ic.div_ceil(PANEL), oc.div_ceil(PANEL));
    assert!(x.len() >= conv.input_len(), "x: slice too short");
    assert!(w.len() >= POINTS * ob * ic * PANEL, "weights: slice too short");
    assert!(y.len() >= conv.output_len(), "y: slice too short");
    check_residual(epilogue, conv.output_len());
    let cut = Cut::new(conv, par);
    assert!(scratch.len() >= cut.tasks * cut.scratch(), "scratch: slice too short");
    let stages = epilogue.stages(y.as_ptr());
    let plan = Plan {
        conv,
        output: conv.output(),
        tiles: conv.tiles(),
        blocks: (ib, ob),
        x: x.as_ptr(),
        w: w.as_ptr(),
        bias: channel_bias(epilogue, oc),
        residual: if stages.in_place { y.as_ptr() } else { stages.early },
        stages,
        y: y.as_mut_ptr(),
        cut,
    };
    let (plan, memory) = (&plan, Shared::new(scratch));
    par.run(plan.cut.tasks, &|task| {
        // SAFETY: the scratch memory holds this much for each task.
        let memory = unsafe { memory.get().add(task * plan.cut.scratch()) };
        for chunk in part(plan.cut.chunks, plan.cut.tasks, task) {
            isa.run(Chunk { plan, tiles: part(plan.cut.tiles, plan.cut.chunks, chunk), memory });
        }
    });
}

/// A convolution whose memory has been checked.
struct Plan<'a> {
    conv: &'a Conv2d,
    output: (usize, usize),
    tiles: (usize, usize),
    /// Blocks of input and output channels.
    blocks: (usize, usize),
    x: *const f32,
    w: *const f32,
    bias: *const f32,
    /// Added before the bounds, or null; the output itself if that is where it lies.
    residual: *const f32,
    stages: Stages,
    y: *mut f32,
    cut: Cut,
}

// SAFETY: tasks write disjoint tiles of the output and only read the rest.
unsafe impl Sync for Plan<'_> {}

impl Plan<'_> {
    /// Image, first output row and first output column of a tile.
    #[inline(always)]
    fn place(&self, tile: usize) -> (usize, usize, usize) {
        let (th, tw) = self.tiles;
        (tile / (th * tw), tile / tw % th * OUT, tile % tw * OUT)
    }
}

/// Some tiles, through all stages.
struct Chunk<'a> {
    plan: &'a Plan<'a>,
    tiles: std::ops::Range<usize>,
    memory: *mut f32,
}

impl Kernel for Chunk<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { plan, tiles, memory } = self;
        let cut = &plan.cut;
        // SAFETY: the memory of a task holds transformed input and, behind it, transformed output of a chunk; the tiles
        // exist.
        unsafe {
            let sums = memory.add(POINTS * cut.position.0);
            for (row, tile) in tiles.clone().enumerate() {
                s.call(Input { plan, tile, to: memory.add(row * cut.ld.0) });
            }
            let (k, panels) = (plan.conv.channels.0, plan.blocks.1);
            for point in 0..POINTS {
                let job = Job {
                    m: tiles.len(),
                    n: panels * PANEL,
                    k,
                    a: memory.add(point * cut.position.0),
                    lda: cut.ld.0,
                    b: plan.w.add(point * panels * k * PANEL),
                    b_rows: k,
                    c: sums.add(point * cut.position.1),
                    ldc: cut.ld.1,
                    bias: std::ptr::null(),
                    row_bias: std::ptr::null(),
                    stages: Stages::NONE,
                    res_ld: 0,
                    backwards: false,
                };
                row_block(s, &job, 0..tiles.len(), 0..panels, 0..k, true);
            }
            for (row, tile) in tiles.enumerate() {
                s.call(Output { plan, tile, from: sums.add(row * cut.ld.1) });
            }
        }
    }
}

/// `B' d` of one column (or row).
#[inline(always)]
fn input<S: Simd>(s: S, d: [S::V; IN]) -> [S::V; IN] {
    let (four, five) = (s.splat(4.0), s.splat(-5.0));
    let a = s.fma(d[2], s.splat(-4.0), d[4]);
    let b = s.fma(d[1], s.splat(-4.0), d[3]);
    let c = s.sub(d[4], d[2]);
    let e = s.sub(d[3], d[1]);
    let e = s.add(e, e);
    [
        s.fma(d[0], four, s.fma(d[2], five, d[4])),
        s.add(a, b),
        s.sub(a, b),
        s.add(c, e),
        s.sub(c, e),
        s.fma(d[1], four, s.fma(d[3], five, d[5])),
    ]
}

/// `A' m` of one column (or row).
#[inline(always)]
fn output<S: Simd>(s: S, m: [S::V; IN]) -> [S::V; OUT] {
    let (a, b) = (s.add(m[1], m[2]), s.sub(m[1], m[2]));
    let (c, d) = (s.add(m[3], m[4]), s.sub(m[3], m[4]));
    [
        s.add(m[0], s.add(a, c)),
        s.fma(d, s.splat(2.0), b),
        s.fma(c, s.splat(4.0), a),
        s.add(m[5], s.fma(d, s.splat(8.0), b)),
    ]
}

/// Transforms one tile of the input, all channels.
struct Input<'a> {
    plan: &'a Plan<'a>,
    tile: usize,
    to: *mut f32,
}

impl Kernel for Input<'_> {
    type Out = ();

    #[inline(always)]
    #[allow(clippy::needless_range_loop, reason = "as in the formula")]
    fn run<S: Simd>(self, s: S) {
        let Self { plan, tile, to } = self;
        let (h, w) = plan.conv.input;
        let (image, oy, ox) = plan.place(tile);
        let (top, left) = plan.conv.pads_begin;
        let inside = oy >= top && ox >= left && oy - top + IN <= h && ox - left + IN <= w;
        let (row, plane) = (w * PANEL, h * w * PANEL);
        let first = plan.x.wrapping_add(image * plan.blocks.0 * plane);
        let first = first.wrapping_add((oy * w + ox) * PANEL).wrapping_sub((top * w + left) * PANEL);
        for lane in (0..plan.blocks.0 * PANEL).step_by(S::LANES) {
            let from = first.wrapping_add(lane / PANEL * plane + lane % PANEL);
            let mut half = [[s.zero(); IN]; IN];
            for j in 0..IN {
                let mut d = [s.zero(); IN];
                for i in 0..IN {
                    let exists = inside || (oy + i).wrapping_sub(top) < h && (ox + j).wrapping_sub(left) < w;
                    if exists {
                        // SAFETY: the pixel lies in the image, as just checked, and pixels are whole blocks.
                        d[i] = unsafe { s.load(from.wrapping_add(i * row + j * PANEL)) };
                    }
                }
                let d = input(s, d);
                for i in 0..IN {
                    half[i][j] = d[i];
                }
            }
            for i in 0..IN {
                let d = input(s, half[i]);
                for j in 0..IN {
                    // SAFETY: each position holds all blocks of the tile.
                    unsafe { s.store(to.add((i * IN + j) * plan.cut.position.0 + lane), d[j]) };
                }
            }
        }
    }
}

/// Transforms the sums of one tile back, and finishes and stores it.
struct Output<'a> {
    plan: &'a Plan<'a>,
    tile: usize,
    from: *const f32,
}

impl Kernel for Output<'_> {
    type Out = ();

    #[inline(always)]
    #[allow(clippy::needless_range_loop, reason = "as in the formula")]
    fn run<S: Simd>(self, s: S) {
        let Self { plan, tile, from } = self;
        let (oh, ow) = plan.output;
        let (image, oy, ox) = plan.place(tile);
        let (rows, cols) = ((oh - oy).min(OUT), (ow - ox).min(OUT));
        let (row, plane) = (ow * PANEL, oh * ow * PANEL);
        let first = image * plan.blocks.1 * plane + (oy * ow + ox) * PANEL;
        let (lo, hi) = (s.splat(plan.stages.clamp.0), s.splat(plan.stages.clamp.1));
        for block in 0..plan.blocks.1 {
            let at = first + block * plane;
            let channels = plan.conv.channels.1 - block * PANEL;
            for lane in (0..PANEL).step_by(S::LANES) {
                let mut half = [[s.zero(); IN]; OUT];
                for j in 0..IN {
                    let mut m = [s.zero(); IN];
                    for i in 0..IN {
                        // SAFETY: each position holds all blocks of the tile.
                        m[i] = unsafe { s.load(from.add((i * IN + j) * plan.cut.position.1 + block * PANEL + lane)) };
                    }
                    let m = output(s, m);
                    for i in 0..OUT {
                        half[i][j] = m[i];
                    }
                }
                // SAFETY: the bias is read up to the last channel; only outputs that exist are touched, and the residual
                // lies as the output does.
                unsafe {
                    let bias = if plan.bias.is_null() {
                        s.zero()
                    } else {
                        let valid = channels.saturating_sub(lane).min(S::LANES);
                        s.load_n(plan.bias.add(block * PANEL).wrapping_add(lane), valid)
                    };
                    for i in 0..OUT {
                        let m = output(s, half[i]);
                        for j in 0..OUT {
                            if i < rows && j < cols {
                                let at = at + i * row + j * PANEL + lane;
                                let mut sum = s.add(m[j], bias);
                                if !plan.residual.is_null() {
                                    sum = s.add(sum, s.load(plan.residual.add(at)));
                                }
                                s.store(plan.y.add(at), s.min(hi, s.max(lo, sum)));
                            }
                        }
                    }
                }
            }
            if let Some((activation, residual)) = plan.stages.late {
                let residual = if residual.is_null() { residual } else { residual.wrapping_add(at) };
                // SAFETY: the rows were just written.
                let data = unsafe { plan.y.add(at) };
                s.call(LateRun { activation, residual, data, len: cols * PANEL, rows, stride: (row, row) });
            }
        }
    }
}
