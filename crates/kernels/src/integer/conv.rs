//! Convolution of bytes on channel blocks, with register tiles of output pixels by output channels.
//!
//! Blocks of 16 channels (`[n][c / 16][h][w][16]`) rather than NHWC, because maps, poolings and concatenations over blocks
//! exist already, a block is four quads, and 7x7 images with many channels do not stride across pages. Pads are copied
//! around the image as the zero point of x, whose products [`super::starts`] takes off exactly, so no edge is special.

use super::pack::panel_len;
use super::quads::{Buffer, PANEL, Place, QUAD, Tile, finish, tile};
use super::requant::Finish;
use crate::conv::Conv2d;
use crate::isa::{ByteKernel, Bytes, Isa};
use crate::par::{Parallel, Shared, part, ranges};
use std::ops::Range;

/// Most bytes of input that a strip of output rows may touch, to stay in L2 beside the weights.
const STRIP: usize = 384 * 1024;

/// An image of bytes and what its padding is.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    /// Elements.
    pub bytes: &'a [u8],
    /// They are i8.
    pub signed: bool,
    /// Zero point, as its byte.
    pub zero: u8,
}

impl Image<'_> {
    /// What turns its bytes into u8.
    fn flip(&self) -> u8 {
        if self.signed { 0x80 } else { 0 }
    }

    /// The zero point of the elements as u8.
    pub fn zero_as_u8(&self) -> i32 {
        i32::from(self.zero ^ self.flip())
    }
}

fn padded(c: &Conv2d) -> (usize, usize) {
    (c.input.0 + c.pads_begin.0 + c.pads_end.0, c.input.1 + c.pads_begin.1 + c.pads_end.1)
}

/// Scratch for [`conv_blocks`], in bytes: the input with its pads, if it has to be copied.
pub fn conv_blocks_scratch(conv: &Conv2d, signed: bool) -> usize {
    let (h, w) = padded(conv);
    if signed || (h, w) != conv.input { crate::conv::blocked_len(conv.batch, conv.channels.0, h * w) } else { 0 }
}

/// Bytes of a pixel of `c` channels as [`conv_rows`] reads them.
fn unit(c: usize) -> usize {
    c.next_multiple_of(4).max(4)
}

/// Scratch for [`conv_rows`], in bytes: the input, pixel by pixel.
pub fn conv_rows_scratch(conv: &Conv2d) -> usize {
    let (h, w) = padded(conv);
    conv.batch * h * w * unit(conv.channels.0)
}

/// Convolution from blocked channels to blocked channels; weights from [`super::pack_conv`]; `start` as [`super::starts`]
/// gives it for the zero point of x as u8. The result in `y` has the type that `f` gives.
///
/// # Panics
/// If the convolution is not [`Conv2d::is_direct`], or a slice is shorter than needed ([`Conv2d::input_len`],
/// [`super::pack_conv`], [`Conv2d::output_len`], [`conv_blocks_scratch`]).
#[allow(clippy::too_many_arguments)]
pub fn conv_blocks(
    isa: Isa,
    par: &dyn Parallel,
    conv: &Conv2d,
    x: Image<'_>,
    w: &[u8],
    start: &[i32],
    y: &mut [u8],
    f: &Finish<'_>,
    scratch: &mut [u8],
) {
    assert!(conv.is_direct(), "groups are not whole channel blocks");
    let (ic, oc) = (conv.channels.0 / conv.groups, conv.channels.1 / conv.groups);
    let (kh, kw) = conv.kernel;
    let (icb, ocb) = (ic.div_ceil(PANEL), oc.div_ceil(PANEL));
    assert!(x.bytes.len() >= conv.input_len(), "x: slice too short");
    let from = if conv_blocks_scratch(conv, x.signed) == 0 {
        x.bytes.as_ptr()
    } else {
        frame(par, conv, conv.batch * conv.groups * icb, &x, scratch)
    };
    let (h, wd) = padded(conv);
    let plane = h * wd * PANEL;
    let (mut oh, mut ow) = conv.output();
    let mut stride = conv.stride;
    if kh * kw == 1 && stride == (1, 1) {
        // Pixels of a pointwise convolution form one long row.
        (oh, ow, stride) = (oh.min(1), oh * ow, (1, 1));
    }
    let offsets = offsets(icb, plane, conv, wd * PANEL, PANEL);
    let quads_last = if ic.is_multiple_of(PANEL) { 4 } else { (ic % PANEL).div_ceil(4) };
    let plan = Plan {
        batch: conv.batch,
        groups: conv.groups,
        oh,
        ow,
        x: from,
        x_image: conv.groups * icb * plane,
        x_group: icb * plane,
        x_px: stride.1 * PANEL,
        x_row: stride.0 * wd * PANEL,
        reach: (kh - 1) * conv.dilation.0 + 1,
        touched: icb,
        offsets: &offsets,
        quads: 4,
        n_whole: if quads_last == 4 { offsets.len() } else { offsets.len() - kh * kw },
        quads_last,
        w: w.as_ptr().cast(),
        ocb,
        start: start.as_ptr(),
        y: y.as_mut_ptr(),
        f,
    };
    plan.run(isa, par, conv, (w.len(), start.len(), y.len()));
}

/// Convolution from rows (NCHW) with few channels to blocked channels; weights from [`super::pack_first`]; otherwise as
/// [`conv_blocks`].
///
/// # Panics
/// If there are groups, or a slice is shorter than needed ([`super::pack_first`], [`Conv2d::output_len`],
/// [`conv_rows_scratch`]).
#[allow(clippy::too_many_arguments)]
pub fn conv_rows(
    isa: Isa,
    par: &dyn Parallel,
    conv: &Conv2d,
    x: Image<'_>,
    w: &[u8],
    start: &[i32],
    y: &mut [u8],
    f: &Finish<'_>,
    scratch: &mut [u8],
) {
    assert_eq!(conv.groups, 1, "groups in a first layer");
    let (ic, oc) = conv.channels;
    let (kh, kw) = conv.kernel;
    assert!(x.bytes.len() >= conv.batch * ic * conv.input.0 * conv.input.1, "x: slice too short");
    let from = pixels(isa, par, conv, &x, scratch);
    let ((h, wd), unit) = (padded(conv), unit(ic));
    let (oh, ow) = conv.output();
    // A row of the kernel is contiguous in the input unless it is dilated.
    let columns = if conv.dilation.1 == 1 { 1 } else { kw };
    let contiguous = Conv2d { kernel: (kh, columns), ..*conv };
    let offsets = offsets(1, 0, &contiguous, wd * unit, unit);
    let plan = Plan {
        batch: conv.batch,
        groups: 1,
        oh,
        ow,
        x: from,
        x_image: h * wd * unit,
        x_group: 0,
        x_px: conv.stride.1 * unit,
        x_row: conv.stride.0 * wd * unit,
        reach: (kh - 1) * conv.dilation.0 + 1,
        touched: 1,
        offsets: &offsets,
        quads: kw / columns * unit / 4,
        n_whole: offsets.len(),
        quads_last: 0,
        w: w.as_ptr().cast(),
        ocb: oc.div_ceil(PANEL),
        start: start.as_ptr(),
        y: y.as_mut_ptr(),
        f,
    };
    plan.run(isa, par, conv, (w.len(), start.len(), y.len()));
}

/// Offsets of the taps: `outer` times the elements of the kernel.
fn offsets(outer: usize, step: usize, conv: &Conv2d, row: usize, px: usize) -> Vec<isize> {
    let mut out = Vec::with_capacity(outer * conv.kernel.0 * conv.kernel.1);
    for block in 0..outer {
        for ky in 0..conv.kernel.0 {
            for kx in 0..conv.kernel.1 {
                out.push((block * step + ky * conv.dilation.0 * row + kx * conv.dilation.1 * px) as isize);
            }
        }
    }
    out
}

/// Copies `planes` of channel blocks as u8, with the zero point around them.
fn frame(par: &dyn Parallel, conv: &Conv2d, planes: usize, x: &Image<'_>, scratch: &mut [u8]) -> *const u8 {
    let ((h, w), (ph, pw)) = (conv.input, padded(conv));
    let (row, to_row, left) = (w * PANEL, pw * PANEL, conv.pads_begin.1 * PANEL);
    assert!(scratch.len() >= planes * ph * to_row, "scratch: slice too short");
    let (flip, zero) = (x.flip(), x.zero_as_u8() as u8);
    let to = Shared::new(scratch);
    ranges(par, planes * ph, to_row / 4, |r| {
        for i in r {
            // SAFETY: row `i` lies within the scratch memory and belongs to one task.
            let out = unsafe { std::slice::from_raw_parts_mut(to.get().add(i * to_row), to_row) };
            let (plane, y) = (i / ph, (i % ph).wrapping_sub(conv.pads_begin.0));
            if y >= h {
                out.fill(zero);
                continue;
            }
            let from = &x.bytes[(plane * h + y) * row..][..row];
            out[..left].fill(zero);
            out[left + row..].fill(zero);
            if flip == 0 {
                out[left..left + row].copy_from_slice(from);
            } else {
                out[left..left + row].iter_mut().zip(from).for_each(|(to, x)| *to = x ^ flip);
            }
        }
    });
    scratch.as_ptr()
}

/// Copies rows of few channels as u8, pixel by pixel, with the zero point around them.
fn pixels(isa: Isa, par: &dyn Parallel, conv: &Conv2d, x: &Image<'_>, scratch: &mut [u8]) -> *const u8 {
    let (ph, pw) = padded(conv);
    let to_row = pw * unit(conv.channels.0);
    assert!(scratch.len() >= conv.batch * ph * to_row, "scratch: slice too short");
    let to = Shared::new(scratch);
    ranges(par, conv.batch * ph, to_row, |rows| isa.run_bytes(Pixels { conv, x, to, rows }));
    scratch.as_ptr()
}

struct Pixels<'a> {
    conv: &'a Conv2d,
    x: &'a Image<'a>,
    to: Shared<u8>,
    rows: Range<usize>,
}

impl ByteKernel for Pixels<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Bytes>(self, _: S) {
        let ((h, w), (ph, pw), c) = (self.conv.input, padded(self.conv), self.conv.channels.0);
        let unit = unit(c);
        let (to_row, left) = (pw * unit, self.conv.pads_begin.1 * unit);
        let (flip, zero) = (self.x.flip(), self.x.zero_as_u8() as u8);
        for i in self.rows {
            // SAFETY: row `i` lies within the scratch memory, as was checked, and belongs to one task.
            let out = unsafe { std::slice::from_raw_parts_mut(self.to.get().add(i * to_row), to_row) };
            let (image, y) = (i / ph, (i % ph).wrapping_sub(self.conv.pads_begin.0));
            if y >= h || w == 0 {
                out.fill(zero);
                continue;
            }
            let row = |channel: usize| &self.x.bytes[((image * c + channel) * h + y) * w..][..w];
            out[..left].fill(zero);
            out[left + w * unit..].fill(zero);
            let inside = &mut out[left..left + w * unit];
            if c == 3 {
                let (r, g, b) = (row(0), row(1), row(2));
                for (((to, r), g), b) in inside.chunks_exact_mut(4).zip(r).zip(g).zip(b) {
                    let quad = u32::from(*r) | u32::from(*g) << 8 | u32::from(*b) << 16;
                    to.copy_from_slice(&(quad ^ u32::from_le_bytes([flip; 4])).to_le_bytes());
                }
                continue;
            }
            inside.fill(0);
            for channel in 0..c {
                let to = inside[channel..].iter_mut().step_by(unit);
                to.zip(row(channel)).for_each(|(to, x)| *to = x ^ flip);
            }
        }
    }
}

/// A convolution as the tiles see it. Distances are in bytes.
struct Plan<'a> {
    batch: usize,
    groups: usize,
    oh: usize,
    ow: usize,
    /// Input with pads, the distance between images and between groups.
    x: *const u8,
    x_image: usize,
    x_group: usize,
    /// Distance of the inputs of neighbouring outputs in a row, and of neighbouring rows.
    x_px: usize,
    x_row: usize,
    /// Input rows that one output row needs, and planes of them.
    reach: usize,
    touched: usize,
    offsets: &'a [isize],
    quads: usize,
    n_whole: usize,
    quads_last: usize,
    w: *const i8,
    /// Output blocks of one group.
    ocb: usize,
    start: *const i32,
    y: *mut u8,
    f: &'a Finish<'a>,
}

// SAFETY: tasks write disjoint rows and blocks of the output and only read the rest.
unsafe impl Sync for Plan<'_> {}

impl Plan<'_> {
    /// Quads of a panel.
    fn panel_quads(&self) -> usize {
        self.offsets.len() * self.quads
    }

    /// Checks the lengths of weights, starts and result, and runs the convolution.
    fn run(&self, isa: Isa, par: &dyn Parallel, conv: &Conv2d, (w, start, y): (usize, usize, usize)) {
        let panels = self.groups * self.ocb;
        assert!(w >= panels * panel_len(self.panel_quads()), "weights: slice too short");
        assert!(start >= panels * PANEL, "start: slice too short");
        self.f.check(panels * PANEL, conv.output_len(), y);
        if self.batch * self.ocb * self.oh * self.ow == 0 {
            return;
        }
        let (strips, parts) = self.cut(par);
        let per_image = self.groups * strips * parts;
        par.run(self.batch * per_image, &|i| {
            let (image, rest) = (i / per_image, i % per_image);
            let (group, rest) = (rest / (strips * parts), rest % (strips * parts));
            let (rows, cols) = if self.oh == 1 {
                (0..1, part(self.ow, strips, rest / parts))
            } else {
                (part(self.oh, strips, rest / parts), 0..self.ow)
            };
            let blocks = part(self.ocb, parts, rest % parts);
            isa.run_bytes(Strip { plan: self, image, group, rows, cols, blocks });
        });
    }

    /// Into how many strips of rows (of pixels, if there is one row) and parts of the output blocks to cut each group.
    fn cut(&self, par: &dyn Parallel) -> (usize, usize) {
        let units = if self.oh == 1 { self.ow } else { self.oh };
        let touched = self.touched * (self.x_row * (self.oh - 1) + self.x_px * self.ow + self.x_row * self.reach / 2);
        // Strips that are too low read most rows twice.
        let lowest = if self.oh == 1 { 64 } else { (2 * self.reach).max(4) };
        let least = touched.div_ceil(STRIP).min(units / lowest).max(1);
        let width = if self.oh == 1 { 1 } else { self.ow };
        let cost = PANEL * self.panel_quads() * width;
        crate::par::strips(par, self.batch * self.groups, units, self.ocb, least, cost)
    }
}

/// The share of one task: a strip of one image for some output blocks of one group.
struct Strip<'a> {
    plan: &'a Plan<'a>,
    image: usize,
    group: usize,
    rows: Range<usize>,
    cols: Range<usize>,
    blocks: Range<usize>,
}

impl ByteKernel for Strip<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Bytes>(self, s: S) {
        let p = self.plan;
        let mut buffer = Buffer::new();
        let sums = buffer.ptr();
        let (height, width) = (self.rows.len(), self.cols.len());
        let widest = S::quad_panels(height * width);
        let plane = p.oh * p.ow * PANEL;
        let size = panel_len(p.panel_quads());
        let mut block = self.blocks.start;
        while block < self.blocks.end {
            let np = widest.min(1 << (self.blocks.end - block).ilog2());
            let most = S::QUAD_ROWS[(np * PANEL / S::LANES).trailing_zeros() as usize];
            // A tile takes part of a row, or several whole rows if they are short.
            let row_tiles = height.div_ceil((most / width.min(most)).max(1));
            let col_tiles = width.div_ceil(most);
            let tiles = row_tiles * col_tiles;
            let step = (np * QUAD).div_ceil(tiles);
            let first = self.group * p.ocb + block;
            let image = (self.image * p.groups * p.ocb + first) * plane;
            for i in 0..tiles {
                let rows = part(height, row_tiles, i / col_tiles);
                let cols = part(width, col_tiles, i % col_tiles);
                let (oy, ox) = (self.rows.start + rows.start, self.cols.start + cols.start);
                let (mut rr, mut wt) = (rows.len(), cols.len());
                let (mut px, mut row) = ((p.x_px, PANEL), (p.x_row, p.ow * PANEL));
                if rr > wt {
                    (rr, wt, px, row) = (wt, rr, row, px);
                }
                let sum_panel = rr * wt * PANEL;
                // SAFETY: rows, columns and blocks are those of a plan whose memory was checked, the buffer holds the
                // largest tile; prefetched addresses are moved with wrapping arithmetic.
                unsafe {
                    let w = p.w.add(first * size);
                    let x = p.x.add(self.image * p.x_image + self.group * p.x_group);
                    let t = Tile {
                        x: x.add(oy * p.x_row + ox * p.x_px),
                        taps: p.offsets.as_ptr(),
                        n_taps: p.offsets.len(),
                        quads: p.quads,
                        n_whole: p.n_whole,
                        quads_last: p.quads_last,
                        x_px: px.0,
                        x_row: row.0,
                        w,
                        w_tap: p.quads * QUAD,
                        w_panel: size,
                        sums,
                        sum_px: PANEL,
                        sum_panel,
                        ahead: w.wrapping_add(np * size + i * step * p.panel_quads()),
                        ahead_step: step,
                    };
                    tile(s, rr, wt, np, &t);
                    let place = Place {
                        rr,
                        w: wt,
                        panels: np,
                        sum_px: PANEL,
                        sum_panel,
                        at: image + (oy * p.ow + ox) * PANEL,
                        px: px.1,
                        row: row.1,
                        panel: plane,
                        channel: first * PANEL,
                        cols: np * PANEL,
                    };
                    finish(s, p.f, p.start, p.y, sums, &place);
                }
            }
            block += np;
        }
    }
}
