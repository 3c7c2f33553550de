//! Direct convolution with register tiles of output pixels by output channels.
//!
//! A tile adds one product per tap (input block, kernel row, kernel column) to its accumulators. Input with pads is
//! copied with its zeros first; weights of a few output blocks stay in L2 while a strip of the image passes. Taps that meet
//! nothing but pads are left out. Dilated taps meet pads far into the image: there tiles are cut where a tap enters or
//! leaves the image, so that each tap is whole or left out, and the pads are not copied at all.

use super::{Conv2d, channel_bias, check_residual};
use crate::epilogue::{Epilogue, LateRun, Stages};
use crate::isa::{Isa, Kernel, Simd};
use crate::micro::{PANEL, Tile, tile};
use crate::par::{Parallel, Shared, part, ranges};

/// Most taps in one go: two panels of weights are then 256 KB, a quarter of a 1 MB L2.
const MAX_TAPS: usize = 128;
/// Most floats of input that a strip of output rows may touch, to stay in L2 beside the weights.
const STRIP: usize = 96 * 1024;

/// Packs weights `[out][in / groups][kh][kw]` as `[out / 16][in / 16][kh][kw][16 in][16 out]` for [`conv_direct`], with
/// zeros where there are no channels.
///
/// # Panics
/// If `w` is too short or the convolution is not [`Conv2d::is_direct`].
pub fn pack_conv_weights(conv: &Conv2d, w: &[f32]) -> Vec<f32> {
    conv.check();
    assert!(conv.is_direct(), "groups are not whole channel blocks");
    let (ic, oc) = (conv.channels.0 / conv.groups, conv.channels.1);
    let taps = conv.kernel.0 * conv.kernel.1;
    assert!(w.len() >= oc * ic * taps, "weights: slice too short");
    let icb = ic.div_ceil(PANEL);
    let mut out = vec![0.0; oc.div_ceil(PANEL) * icb * taps * PANEL * PANEL];
    for o in 0..oc {
        for i in 0..ic {
            for t in 0..taps {
                let block = ((o / PANEL * icb + i / PANEL) * taps + t) * PANEL * PANEL;
                out[block + i % PANEL * PANEL + o % PANEL] = w[(o * ic + i) * taps + t];
            }
        }
    }
    out
}

/// Packs weights `[out][in][kh][kw]` as `[out / 16][in][kh][kw][16 out]` for [`conv_first`].
///
/// # Panics
/// If `w` is too short or there are groups.
pub fn pack_first_weights(conv: &Conv2d, w: &[f32]) -> Vec<f32> {
    conv.check();
    assert_eq!(conv.groups, 1, "groups in a first layer");
    let (k, oc) = (conv.channels.0 * conv.kernel.0 * conv.kernel.1, conv.channels.1);
    crate::gemm::pack_b(k, oc, w, 1, k)
}

/// Scratch for [`conv_direct`], in floats: the input with its pads.
pub fn direct_scratch(conv: &Conv2d) -> usize {
    let (conv, _) = conv.without_idle_taps();
    let (h, w) = conv.padded();
    if conv.has_pads() && !conv.cuts_at_pads() { super::blocked_len(conv.batch, conv.channels.0, h * w) } else { 0 }
}

/// Scratch for [`conv_first`], in floats: the input with its pads.
pub fn first_scratch(conv: &Conv2d) -> usize {
    let (h, w) = conv.padded();
    if conv.has_pads() { conv.batch * conv.channels.0 * h * w } else { 0 }
}

/// Convolution from NCHW16c to NCHW16c. The bias is per output channel; a residual has the layout of the output.
///
/// # Panics
/// If the convolution is not [`Conv2d::is_direct`], or a slice is shorter than needed ([`Conv2d::input_len`],
/// [`pack_conv_weights`], [`Conv2d::output_len`], [`direct_scratch`]).
#[allow(clippy::too_many_arguments)]
pub fn conv_direct(
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
    assert!(conv.is_direct(), "groups are not whole channel blocks");
    let (ic, oc) = (conv.channels.0 / conv.groups, conv.channels.1 / conv.groups);
    let (icb, ocb) = (ic.div_ceil(PANEL), oc.div_ceil(PANEL));
    let (full, (conv, first)) = (conv.kernel, conv.without_idle_taps());
    let (conv, (kh, kw)) = (&conv, conv.kernel);
    assert!(x.len() >= conv.input_len(), "x: slice too short");
    assert!(w.len() >= conv.groups * ocb * icb * full.0 * full.1 * PANEL * PANEL, "weights: slice too short");
    let cuts_at_pads = conv.cuts_at_pads();
    let (x, (h, wd)) = if cuts_at_pads {
        let before = (conv.pads_begin.0 * conv.input.1 + conv.pads_begin.1) * PANEL;
        (x.as_ptr().wrapping_sub(before), conv.input)
    } else {
        (pad(par, conv, conv.batch * conv.groups * icb, PANEL, x, scratch), conv.padded())
    };
    let plane = h * wd * PANEL;
    let (mut oh, mut ow) = conv.output();
    let mut stride = conv.stride;
    if kh * kw == 1 && stride == (1, 1) {
        // Pixels of a pointwise convolution form one long row.
        (oh, ow, stride) = (oh.min(1), oh * ow, (1, 1));
    }
    let plan = Plan {
        batch: conv.batch,
        groups: conv.groups,
        oh,
        ow,
        x,
        x_image: conv.groups * icb * plane,
        x_group: icb * plane,
        a_px: stride.1 * PANEL,
        a_row: stride.0 * wd * PANEL,
        reach: (kh - 1) * conv.dilation.0 + 1,
        outer: icb,
        counts: (kh, kw),
        steps: (plane, conv.dilation.0 * wd * PANEL, conv.dilation.1 * PANEL),
        k: PANEL,
        k_last: if ic.is_multiple_of(PANEL) { PANEL } else { ic % PANEL },
        w: w.as_ptr(),
        w_counts: full,
        w_first: first,
        cut_at_pads: cuts_at_pads.then(|| CutAtPads::new(conv)),
        ocb,
        oc: conv.channels.1,
        bias: std::ptr::null(),
        y: std::ptr::null_mut(),
        stages: epilogue.stages(y.as_ptr()),
    };
    plan.run(isa, par, conv, y, epilogue);
}

/// Convolution from plain NCHW with few channels to NCHW16c; otherwise as [`conv_direct`].
///
/// # Panics
/// If there are groups, or a slice is shorter than needed ([`pack_first_weights`], [`Conv2d::output_len`],
/// [`first_scratch`]).
#[allow(clippy::too_many_arguments)]
pub fn conv_first(
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
    assert_eq!(conv.groups, 1, "groups in a first layer");
    let (ic, oc) = conv.channels;
    let (kh, kw) = conv.kernel;
    assert!(x.len() >= conv.batch * ic * conv.input.0 * conv.input.1, "x: slice too short");
    let ocb = oc.div_ceil(PANEL);
    assert!(w.len() >= ocb * PANEL * ic * kh * kw, "weights: slice too short");
    let x = pad(par, conv, conv.batch * ic, 1, x, scratch);
    let (h, wd) = conv.padded();
    let (oh, ow) = conv.output();
    // A row of the kernel is contiguous in the input unless it is dilated.
    let (columns, k) = if conv.dilation.1 == 1 { (1, kw) } else { (kw, 1) };
    let plan = Plan {
        batch: conv.batch,
        groups: 1,
        oh,
        ow,
        x,
        x_image: ic * h * wd,
        x_group: 0,
        a_px: conv.stride.1,
        a_row: conv.stride.0 * wd,
        reach: (kh - 1) * conv.dilation.0 + 1,
        outer: ic,
        counts: (kh, columns),
        steps: (h * wd, conv.dilation.0 * wd, conv.dilation.1),
        k,
        k_last: k,
        w: w.as_ptr(),
        w_counts: (kh, columns),
        w_first: (0, 0),
        cut_at_pads: None,
        ocb,
        oc,
        bias: std::ptr::null(),
        y: std::ptr::null_mut(),
        stages: epilogue.stages(y.as_ptr()),
    };
    plan.run(isa, par, conv, y, epilogue);
}

impl Conv2d {
    /// The convolution without outer taps that meet nothing but pads wherever the kernel lies, and the first of its taps
    /// in this one.
    fn without_idle_taps(&self) -> (Self, (usize, usize)) {
        /// Taps that meet input, for one direction; all where leaving out others would leave no whole pads.
        fn used([input, output, kernel, stride, dilation, begin, end]: [usize; 7]) -> std::ops::Range<usize> {
            // Tap `k` of output `o` reads position `o * stride + k * dilation` of the padded input.
            let last = output.saturating_sub(1) * stride;
            let meets = |k: &usize| k * dilation < begin + input && last + k * dilation >= begin;
            let (first, past) = ((0..kernel).find(meets), (0..kernel).rev().find(meets).map(|k| k + 1));
            let (Some(first), Some(past)) = (first, past) else { return 0..kernel };
            let whole = first * dilation <= begin && (kernel - past) * dilation <= end;
            if whole { first..past } else { 0..kernel }
        }
        let (oh, ow) = self.output();
        let (s, d, (t, l), (b, r)) = (self.stride, self.dilation, self.pads_begin, self.pads_end);
        let rows = used([self.input.0, oh, self.kernel.0, s.0, d.0, t, b]);
        let cols = used([self.input.1, ow, self.kernel.1, s.1, d.1, l, r]);
        let less = Self {
            kernel: (rows.len(), cols.len()),
            pads_begin: (t - rows.start * d.0, l - cols.start * d.1),
            pads_end: (b - (self.kernel.0 - rows.end) * d.0, r - (self.kernel.1 - cols.end) * d.1),
            ..*self
        };
        (less, (rows.start, cols.start))
    }

    /// Whether tiles are cut where taps enter or leave the image, instead of copying the pads.
    fn cuts_at_pads(&self) -> bool {
        self.dilation != (1, 1) && self.kernel != (1, 1) && self.has_pads()
    }

    /// Whether a tap meets input at any of these output rows and columns.
    fn meets(&self, (ky, kx): (usize, usize), rows: &std::ops::Range<usize>, cols: &std::ops::Range<usize>) -> bool {
        let one = |outputs: &std::ops::Range<usize>, at: usize, stride: usize, begin: usize, input: usize| {
            outputs.start * stride + at < begin + input && (outputs.end - 1) * stride + at >= begin
        };
        one(rows, ky * self.dilation.0, self.stride.0, self.pads_begin.0, self.input.0)
            && one(cols, kx * self.dilation.1, self.stride.1, self.pads_begin.1, self.input.1)
    }
}

/// A dilated convolution whose pads are not copied, and the output rows and columns at which some tap enters or leaves the
/// image.
struct CutAtPads<'a> {
    conv: &'a Conv2d,
    rows: Vec<usize>,
    cols: Vec<usize>,
}

impl<'a> CutAtPads<'a> {
    fn new(conv: &'a Conv2d) -> Self {
        let cuts = |[input, output, kernel, stride, dilation, begin]: [usize; 6]| {
            // Tap `k` of output `o` reads position `o * stride + k * dilation` of the padded input.
            let first_at = |position: usize, k: usize| position.saturating_sub(k * dilation).div_ceil(stride);
            let mut cuts: Vec<usize> = (0..kernel)
                .flat_map(|k| [first_at(begin, k), first_at(begin + input, k)])
                .filter(|o| *o < output)
                .collect();
            cuts.sort_unstable();
            cuts.dedup();
            cuts
        };
        let ((oh, ow), (s, d)) = (conv.output(), (conv.stride, conv.dilation));
        let rows = cuts([conv.input.0, oh, conv.kernel.0, s.0, d.0, conv.pads_begin.0]);
        let cols = cuts([conv.input.1, ow, conv.kernel.1, s.1, d.1, conv.pads_begin.1]);
        Self { conv, rows, cols }
    }
}

/// The parts of a range between cuts.
fn between(cuts: &[usize], range: std::ops::Range<usize>) -> impl Iterator<Item = std::ops::Range<usize>> + Clone {
    let first = cuts.partition_point(|cut| *cut <= range.start);
    let inside = &cuts[first..first.max(cuts.partition_point(|cut| *cut < range.end))];
    let starts = std::iter::once(range.start).chain(inside.iter().copied());
    let ends = inside.iter().copied().chain(std::iter::once(range.end));
    starts.zip(ends).map(|(start, end)| start..end)
}

/// Copies `planes` images of `unit`-float pixels between their pads, if there are any; returns what to read.
fn pad(par: &dyn Parallel, conv: &Conv2d, planes: usize, unit: usize, x: &[f32], scratch: &mut [f32]) -> *const f32 {
    if !conv.has_pads() {
        return x.as_ptr();
    }
    let ((h, w), (ph, pw)) = (conv.input, conv.padded());
    let (row, to_row) = (w * unit, pw * unit);
    let left = conv.pads_begin.1 * unit;
    assert!(scratch.len() >= planes * ph * to_row, "scratch: slice too short");
    let to = Shared::new(scratch);
    ranges(par, planes * ph, to_row, |r| {
        for i in r {
            // SAFETY: row `i` lies within the scratch memory and belongs to one task.
            let out = unsafe { std::slice::from_raw_parts_mut(to.get().add(i * to_row), to_row) };
            let (plane, y) = (i / ph, (i % ph).wrapping_sub(conv.pads_begin.0));
            if y < h {
                let from = (plane * h + y) * row;
                out[..left].fill(0.0);
                out[left..left + row].copy_from_slice(&x[from..from + row]);
                out[left + row..].fill(0.0);
            } else {
                out.fill(0.0);
            }
        }
    });
    scratch.as_ptr()
}

/// A convolution as the tiles see it. Distances are in floats.
struct Plan<'a> {
    batch: usize,
    groups: usize,
    oh: usize,
    ow: usize,
    /// Input with pads (where they would begin if tiles are cut at pads), the distance between images and between groups.
    x: *const f32,
    x_image: usize,
    x_group: usize,
    /// Distance of the inputs of neighbouring outputs in a row, and of neighbouring rows.
    a_px: usize,
    a_row: usize,
    /// Input rows that one output row needs.
    reach: usize,
    /// Taps are `outer x counts.0 x counts.1`, `steps` apart, with `k` terms each (`k_last` in the last `outer`).
    outer: usize,
    counts: (usize, usize),
    steps: (usize, usize, usize),
    k: usize,
    k_last: usize,
    w: *const f32,
    /// Counts of taps in the packed weights, and the first that is used.
    w_counts: (usize, usize),
    w_first: (usize, usize),
    cut_at_pads: Option<CutAtPads<'a>>,
    /// Output blocks of one group, and output channels in all.
    ocb: usize,
    oc: usize,
    bias: *const f32,
    y: *mut f32,
    stages: Stages,
}

// SAFETY: tasks write disjoint rows and blocks of the output and only read the rest.
unsafe impl Sync for Plan<'_> {}

impl Plan<'_> {
    /// Checks the output side and runs the convolution.
    fn run(mut self, isa: Isa, par: &dyn Parallel, conv: &Conv2d, y: &mut [f32], epilogue: &Epilogue<'_>) {
        assert!(y.len() >= conv.output_len(), "y: slice too short");
        check_residual(epilogue, conv.output_len());
        self.bias = channel_bias(epilogue, self.oc);
        self.y = y.as_mut_ptr();
        if self.batch * self.oc * self.oh * self.ow == 0 {
            return;
        }
        let (strips, parts) = self.cut(par);
        let per_image = self.groups * strips * parts;
        let plan = &self;
        par.run(self.batch * per_image, &|i| {
            let (image, rest) = (i / per_image, i % per_image);
            let (group, rest) = (rest / (strips * parts), rest % (strips * parts));
            let (rows, cols) = if plan.oh == 1 {
                (0..1, part(plan.ow, strips, rest / parts))
            } else {
                (part(plan.oh, strips, rest / parts), 0..plan.ow)
            };
            isa.run(Strip { plan, image, group, rows, cols, blocks: part(plan.ocb, parts, rest % parts) });
        });
    }

    /// Into how many strips of rows (of pixels, if there is one row) and parts of the output blocks to cut each group.
    fn cut(&self, par: &dyn Parallel) -> (usize, usize) {
        let units = if self.oh == 1 { self.ow } else { self.oh };
        let touched = self.outer * (self.a_row * (self.oh - 1) + self.a_px * self.ow + self.a_row * self.reach / 2);
        // Strips that are too low read most rows twice.
        let lowest = if self.oh == 1 { 64 } else { (2 * self.reach).max(4) };
        let least = touched.div_ceil(STRIP).min(units / lowest).max(1);
        let width = if self.oh == 1 { 1 } else { self.ow };
        let cost = PANEL * self.outer * self.counts.0 * self.counts.1 * self.k * width;
        crate::par::strips(par, self.batch * self.groups, units, self.ocb, least, cost)
    }
}

/// The share of one task: a strip of one image for some output blocks of one group.
struct Strip<'a> {
    plan: &'a Plan<'a>,
    image: usize,
    group: usize,
    rows: std::ops::Range<usize>,
    cols: std::ops::Range<usize>,
    blocks: std::ops::Range<usize>,
}

impl Kernel for Strip<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let p = self.plan;
        let widest = S::tile_panels(self.rows.len() * self.cols.len());
        let mut block = self.blocks.start;
        while block < self.blocks.end {
            let np = widest.min(1 << (self.blocks.end - block).ilog2());
            // Even slices, so that none is left with a few taps.
            let all = p.outer * p.counts.0 * p.counts.1;
            let slices = all.div_ceil(MAX_TAPS).max(1);
            for slice in 0..slices {
                // SAFETY: blocks, rows and taps are those of a plan whose memory was checked.
                unsafe { self.slice(s, block, np, part(all, slices, slice)) };
            }
            block += np;
        }
    }
}

impl Strip<'_> {
    /// Writes the offsets of a range of taps, without those that meet only pads in these output rows and columns;
    /// their number, and how many of them are of whole input blocks.
    #[inline(always)]
    fn taps(
        &self,
        taps: &std::ops::Range<usize>,
        within: Option<(&std::ops::Range<usize>, &std::ops::Range<usize>)>,
        offsets: &mut [(isize, isize); MAX_TAPS],
    ) -> (usize, usize) {
        let p = self.plan;
        let per_outer = p.counts.0 * p.counts.1;
        let (mut n, mut n_whole) = (0, 0);
        for tap in taps.clone() {
            let (outer, rest) = (tap / per_outer, tap % per_outer);
            let (ky, kx) = (rest / p.counts.1, rest % p.counts.1);
            if let (Some(cut), Some((rows, cols))) = (&p.cut_at_pads, within)
                && !cut.conv.meets((ky, kx), rows, cols)
            {
                continue;
            }
            let weights = (outer * p.w_counts.0 + p.w_first.0 + ky) * p.w_counts.1 + p.w_first.1 + kx;
            let a = outer * p.steps.0 + ky * p.steps.1 + kx * p.steps.2;
            offsets[n] = (a as isize, (weights * p.k * PANEL) as isize);
            n += 1;
            // The last input block may have fewer channels.
            n_whole += usize::from(p.k_last == p.k || outer + 1 < p.outer);
        }
        (n, n_whole)
    }

    /// Adds the products of a range of at most [`MAX_TAPS`] taps to `np` output blocks.
    ///
    /// # Safety
    /// The plan must be valid, and the ranges within it.
    #[inline(always)]
    unsafe fn slice<S: Simd>(&self, s: S, block: usize, np: usize, taps: std::ops::Range<usize>) {
        let p = self.plan;
        let per_outer = p.counts.0 * p.counts.1;
        let last = taps.end == p.outer * per_outer;
        let mut offsets = [(0isize, 0isize); MAX_TAPS];
        let mut used = self.taps(&taps, None, &mut offsets);
        let nv = np * PANEL / S::LANES;
        let most = S::TILE_ROWS[nv.trailing_zeros() as usize];
        let cuts: (&[usize], &[usize]) = p.cut_at_pads.as_ref().map_or((&[], &[]), |cut| (&cut.rows, &cut.cols));
        let areas = between(cuts.0, self.rows.clone())
            .flat_map(|rows| between(cuts.1, self.cols.clone()).map(move |cols| (rows.clone(), cols)));
        // A tile takes part of a row, or several whole rows if they are short.
        let split = |rows: &std::ops::Range<usize>, cols: &std::ops::Range<usize>| {
            (rows.len().div_ceil((most / cols.len().min(most)).max(1)), cols.len().div_ceil(most))
        };
        let tiles = areas.clone().map(|(rows, cols)| split(&rows, &cols)).map(|(r, c)| r * c).sum::<usize>();
        let all = areas.flat_map(|(rows, cols)| {
            let (row_tiles, col_tiles) = split(&rows, &cols);
            (0..row_tiles * col_tiles).map(move |i| {
                let (r, c) = (part(rows.len(), row_tiles, i / col_tiles), part(cols.len(), col_tiles, i % col_tiles));
                (rows.start + r.start..rows.start + r.end, cols.start + c.start..cols.start + c.end)
            })
        });

        let b_tap = p.k * PANEL;
        let b_panel = p.outer * p.w_counts.0 * p.w_counts.1 * b_tap;
        let slice_len = (taps.len() * b_tap).max(1);
        let step = (np * PANEL).div_ceil(tiles);
        let plane = p.oh * p.ow * PANEL;
        let first = self.group * p.ocb + block;
        // SAFETY: all offsets are of existing blocks; pointers to what is not read (prefetched memory, null, pads that are not
        // there) are moved with wrapping arithmetic.
        unsafe {
            let x = p.x.wrapping_add(self.image * p.x_image + self.group * p.x_group);
            let w = p.w.add(first * b_panel);
            let b = w.wrapping_offset(offsets[0].1);
            let next = if last { w.wrapping_add(np * b_panel) } else { b.wrapping_add(slice_len) };
            let image = (self.image * p.groups * p.ocb + first) * plane;
            for (i, (rows, cols)) in all.enumerate() {
                let (oy, ox) = (rows.start, cols.start);
                let at = image + (oy * p.ow + ox) * PANEL;
                if p.cut_at_pads.is_some() {
                    used = self.taps(&taps, Some((&rows, &cols)), &mut offsets);
                }
                let optional = |q: *const f32, at: usize| if q.is_null() { q } else { q.wrapping_add(at) };
                let ahead = i * step * taps.len() * p.k;
                let (mut rr, mut wt) = (rows.len(), cols.len());
                let (mut px, mut row) = ((p.a_px, PANEL), (p.a_row, p.ow * PANEL));
                if rr > wt {
                    (rr, wt, px, row) = (wt, rr, row, px);
                }
                let t = Tile {
                    a: x.wrapping_add(oy * p.a_row + ox * p.a_px),
                    taps: offsets.as_ptr(),
                    n_taps: used.0,
                    k: p.k,
                    n_whole: used.1,
                    k_last: p.k_last,
                    a_px: px.0,
                    a_row: row.0,
                    b: w,
                    b_panel,
                    c: p.y.add(at),
                    c_px: px.1,
                    c_row: row.1,
                    c_panel: plane,
                    cols: np * PANEL,
                    bias_cols: (p.oc - first * PANEL).min(np * PANEL),
                    accumulate: taps.start > 0 || p.stages.in_place,
                    bias: if taps.start > 0 { std::ptr::null() } else { optional(p.bias, first * PANEL) },
                    row_bias: std::ptr::null(),
                    residual: if last { optional(p.stages.early, at) } else { std::ptr::null() },
                    res_px: px.1,
                    res_row: row.1,
                    res_panel: plane,
                    clamp: if last { p.stages.clamp } else { (f32::NEG_INFINITY, f32::INFINITY) },
                    ahead: next.wrapping_add(ahead / slice_len * b_panel + ahead % slice_len),
                    ahead_step: step,
                };
                tile(s, rr, wt, nv, &t);
                if let (true, Some((activation, residual))) = (last, p.stages.late) {
                    for panel in 0..np {
                        s.call(LateRun {
                            activation,
                            residual: optional(residual, at + panel * plane),
                            data: t.c.add(panel * plane),
                            len: cols.len() * PANEL,
                            rows: rows.len(),
                            stride: (p.ow * PANEL, p.ow * PANEL),
                        });
                    }
                }
            }
        }
    }
}
