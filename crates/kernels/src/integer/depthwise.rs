//! Depthwise convolution of bytes on channel blocks.
//!
//! One filter per channel leaves nothing for products of quads. Sums of products of bytes less a zero point are whole
//! numbers below 2^24 for any kernel of up to 512 elements, so f32 adds them exactly: a task widens the rows that it
//! needs once, to f32 in L1, and multiplies there.

use super::conv::Image;
use super::quads::{Buffer, PANEL, Place, finish};
use super::requant::Finish;
use crate::conv::Conv2d;
use crate::isa::{ByteKernel, Bytes, Isa};
use crate::par::{Parallel, Shared, cut, part};
use std::ops::Range;

/// Elements of a kernel at most: 255 * 128 * 512 < 2^24, so that sums in f32 are exact.
pub const DEPTHWISE_MOST: usize = 512;

/// Pixels of a tile: 14 sums hide the latency of FMA; with 16 registers 10 divide common widths well.
const TILE: usize = 14;

/// Packs weights `[c][taps]` of i8 as `[c / 16][taps][16]`.
///
/// # Panics
/// If `w` is too short.
pub fn pack_depthwise(c: usize, taps: usize, w: &[i8]) -> Vec<u8> {
    assert!(w.len() >= c * taps, "weights: slice too short");
    let mut out = vec![0; c.div_ceil(PANEL) * taps * PANEL];
    for channel in 0..c {
        for tap in 0..taps {
            out[(channel / PANEL * taps + tap) * PANEL + channel % PANEL] = w[channel * taps + tap] as u8;
        }
    }
    out
}

/// Width of the input with pads.
fn width(conv: &Conv2d) -> usize {
    conv.input.1 + conv.pads_begin.1 + conv.pads_end.1
}

/// Floats that a task widens into: a ring of as many rows as the kernel reaches, and the weights of a block.
fn task_len(conv: &Conv2d) -> usize {
    let reach = (conv.kernel.0 - 1) * conv.dilation.0 + 1;
    (reach * width(conv) + conv.kernel.0 * conv.kernel.1) * PANEL
}

fn tasks(conv: &Conv2d, par: &dyn Parallel) -> usize {
    let ((oh, ow), taps) = (conv.output(), conv.kernel.0 * conv.kernel.1);
    cut(par, conv.batch * conv.channels.0.div_ceil(PANEL) * oh, 2 * taps * ow * PANEL)
}

/// Scratch for [`conv_bytes_depthwise`], in bytes.
pub fn conv_bytes_depthwise_scratch(conv: &Conv2d, par: &dyn Parallel) -> usize {
    if conv.is_depthwise() { tasks(conv, par) * task_len(conv) * 4 } else { 0 }
}

/// Depthwise convolution from blocked channels to blocked channels; weights from [`pack_depthwise`]. `start` is added to
/// the sums (the zero point of x is taken off before). The result in `y` has the type that `f` gives.
///
/// # Panics
/// If the convolution is not [`Conv2d::is_depthwise`] with at most [`DEPTHWISE_MOST`] taps, or a slice is shorter than needed ([`Conv2d::input_len`],
/// [`Conv2d::output_len`], [`conv_bytes_depthwise_scratch`]), or the scratch memory not aligned for f32.
#[allow(clippy::too_many_arguments)]
pub fn conv_bytes_depthwise(
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
    assert!(conv.is_depthwise(), "not a depthwise convolution");
    let (blocks, taps) = (conv.channels.0.div_ceil(PANEL), conv.kernel.0 * conv.kernel.1);
    let (oh, ow) = conv.output();
    assert!(taps <= DEPTHWISE_MOST, "kernel: too many elements");
    assert!(x.bytes.len() >= conv.input_len(), "x: slice too short");
    assert!(w.len() >= blocks * taps * PANEL, "weights: slice too short");
    assert!(start.len() >= blocks * PANEL, "start: slice too short");
    f.check(blocks * PANEL, conv.output_len(), y.len());
    if ow == 0 || oh == 0 || conv.batch == 0 {
        return;
    }
    let (tasks, each) = (tasks(conv, par), task_len(conv));
    let scratch: &mut [f32] = bytemuck::cast_slice_mut(&mut scratch[..tasks * each * 4]);
    let scratch = Shared::new(scratch);
    let plan = Plan { conv, oh, ow, blocks, x, w, start, y: Shared::new(y), f };
    let plan = &plan;
    par.run(tasks, &|i| {
        // SAFETY: each task has its own piece of the scratch memory, whose length was checked.
        let memory = unsafe { std::slice::from_raw_parts_mut(scratch.get().add(i * each), each) };
        isa.run_bytes(Rows { plan, rows: part(conv.batch * blocks * oh, tasks, i), memory });
    });
}

struct Plan<'a> {
    conv: &'a Conv2d,
    oh: usize,
    ow: usize,
    blocks: usize,
    x: Image<'a>,
    w: &'a [u8],
    start: &'a [i32],
    y: Shared<u8>,
    f: &'a Finish<'a>,
}

/// A range of output rows, counted over all planes.
struct Rows<'a> {
    plan: &'a Plan<'a>,
    rows: Range<usize>,
    memory: &'a mut [f32],
}

impl ByteKernel for Rows<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Bytes>(self, s: S) {
        let (p, c) = (self.plan, self.plan.conv);
        let (taps, pw) = (c.kernel.0 * c.kernel.1, width(c));
        let reach = (c.kernel.0 - 1) * c.dilation.0 + 1;
        let (weights, ring) = self.memory.split_at_mut(taps * PANEL);
        let mut row = self.rows.start;
        while row < self.rows.end {
            // The rows of this task that lie in one plane.
            let (plane, first) = (row / p.oh, row % p.oh);
            let count = (self.rows.end - row).min(p.oh - first);
            let block = plane % p.blocks;
            let from = &p.w[block * taps * PANEL..][..taps * PANEL];
            weights.iter_mut().zip(from).for_each(|(to, w)| *to = f32::from(*w as i8));
            // The next input row (with pads) to be widened; row `i` lies in place `i % reach`.
            let mut next = first * c.stride.0;
            for oy in first..first + count {
                let top = oy * c.stride.0;
                next = next.max(top);
                while next < top + reach {
                    let to = &mut ring[next % reach * pw * PANEL..][..pw * PANEL];
                    widen(s, p, plane, next, to);
                    next += 1;
                }
                let most = if S::QUAD_ROWS[0] >= TILE { TILE } else { 10 };
                let tiles = p.ow.div_ceil(most);
                for i in 0..tiles {
                    let cols = part(p.ow, tiles, i);
                    let at = ((plane * p.oh + oy) * p.ow + cols.start) * PANEL;
                    let t = Tile { plan: p, ring, weights, top, ox: cols.start, at, block };
                    width_of(s, cols.len(), &t);
                }
            }
            row += count;
        }
    }
}

/// Widens row `y` (with pads) of a plane, less the zero point.
#[inline(always)]
fn widen<S: Bytes>(s: S, p: &Plan<'_>, plane: usize, y: usize, to: &mut [f32]) {
    let c = p.conv;
    let ((h, w), y) = (c.input, y.wrapping_sub(c.pads_begin.0));
    if y >= h {
        to.fill(0.0);
        return;
    }
    let left = c.pads_begin.1 * PANEL;
    let from = &p.x.bytes[(plane * h + y) * w * PANEL..][..w * PANEL];
    to[..left].fill(0.0);
    to[left + w * PANEL..].fill(0.0);
    let to = &mut to[left..left + w * PANEL];
    let (zero, signed) = (if p.x.signed { i32::from(p.x.zero as i8) } else { p.x.zero.into() }, p.x.signed);
    let zero = s.isplat(zero);
    for i in (0..w * PANEL).step_by(S::LANES) {
        // SAFETY: both rows hold whole blocks of 16, which registers divide.
        unsafe {
            let v = s.widen(from.as_ptr().add(i));
            let v = if signed { s.isra::<24>(s.ishl::<24>(v)) } else { v };
            s.store(to.as_mut_ptr().add(i), s.to_float(s.isub(v, zero)));
        }
    }
}

/// A few neighbouring pixels of an output row.
struct Tile<'a> {
    plan: &'a Plan<'a>,
    ring: &'a [f32],
    weights: &'a [f32],
    /// First input row, with pads.
    top: usize,
    ox: usize,
    /// Where the first pixel is in the output.
    at: usize,
    block: usize,
}

#[inline(always)]
fn width_of<S: Bytes>(s: S, w: usize, t: &Tile<'_>) {
    macro_rules! widths {
        ($($w:literal),*) => {
            match w {
                $($w => strided::<S, $w>(s, t),)*
                _ => unreachable!("tile width"),
            }
        };
    }
    widths!(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14);
}

#[inline(always)]
fn strided<S: Bytes, const W: usize>(s: S, t: &Tile<'_>) {
    match t.plan.conv.stride.1 {
        1 => s.call_bytes(Run::<W, 1>(t)),
        2 => s.call_bytes(Run::<W, 2>(t)),
        _ => s.call_bytes(Run::<W, 0>(t)),
    }
}

/// `STRIDE` is the stride of the kernel if it is known, or 0.
struct Run<'a, const W: usize, const STRIDE: usize>(&'a Tile<'a>);

impl<const W: usize, const STRIDE: usize> ByteKernel for Run<'_, W, STRIDE> {
    type Out = ();

    #[inline(always)]
    #[allow(clippy::needless_range_loop, reason = "iterators over the sums make the compiler spill them")]
    fn run<S: Bytes>(self, s: S) {
        let (t, p, c) = (self.0, self.0.plan, self.0.plan.conv);
        let (kh, kw) = c.kernel;
        let stride = if STRIDE > 0 { STRIDE } else { c.stride.1 };
        let (px, pw) = (stride * PANEL, width(c));
        let reach = (kh - 1) * c.dilation.0 + 1;
        let mut buffer = Buffer::new();
        let out = buffer.ptr();
        // A block is several registers wide on narrow tiers: they are independent convolutions.
        for lane in (0..PANEL).step_by(S::LANES) {
            let mut sums = [s.zero(); W];
            // SAFETY: the ring holds all rows that the kernel reaches, each as wide as the input with its pads, within
            // which all taps of all pixels lie; the buffer holds `W` pixels.
            unsafe {
                for ky in 0..kh {
                    let row = (t.top + ky * c.dilation.0) % reach;
                    let row = t.ring.as_ptr().add((row * pw + t.ox * stride) * PANEL + lane);
                    let weights = t.weights.as_ptr().add(ky * kw * PANEL + lane);
                    for kx in 0..kw {
                        let w = s.load(weights.add(kx * PANEL));
                        let from = row.add(kx * c.dilation.1 * PANEL);
                        for i in 0..W {
                            sums[i] = s.fma(s.load(from.add(i * px)), w, sums[i]);
                        }
                    }
                }
                for i in 0..W {
                    s.store_i(out.add(i * PANEL + lane), s.to_int(sums[i]));
                }
            }
        }
        let place = Place {
            rr: 1,
            w: W,
            panels: 1,
            sum_px: PANEL,
            sum_panel: 0,
            at: t.at,
            px: PANEL,
            row: 0,
            panel: 0,
            channel: t.block * PANEL,
            cols: PANEL,
        };
        // SAFETY: the pixels are within the result, whose length was checked, and belong to this task.
        unsafe { finish(s, p.f, p.start.as_ptr(), p.y.get(), out, &place) };
    }
}
