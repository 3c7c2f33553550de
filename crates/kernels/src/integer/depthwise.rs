//! Depthwise convolution of bytes on channel blocks.
//!
//! One filter per channel leaves no channels to sum over, so a quad is four neighbours in a row of the kernel instead. A
//! task brings the input rows that it needs into that form once: for each pixel, sixteen quads of the pixel and its right
//! neighbours, one per channel, which is what the registers of a product hold.

use super::conv::Image;
use super::quads::{Buffer, PANEL, Place, QUAD, finish};
use super::requant::Finish;
use crate::conv::Conv2d;
use crate::isa::{ByteKernel, Bytes, Isa};
use crate::par::{Parallel, Shared, cut, part};
use std::ops::Range;

/// Pixels of a tile: 14 sums hide the latency of a product; with 16 registers 10 divide common widths well.
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

/// Quads of a row of the kernel.
fn quads(conv: &Conv2d) -> usize {
    conv.kernel.1.div_ceil(4)
}

/// Bytes that a task needs: a ring of as many rows of quads as the kernel reaches, the weights of a block, and what its
/// sums start from.
fn task_len(conv: &Conv2d) -> usize {
    let reach = (conv.kernel.0 - 1) * conv.dilation.0 + 1;
    (reach * width(conv) + conv.kernel.0 * quads(conv) + 1) * QUAD
}

fn tasks(conv: &Conv2d, par: &dyn Parallel) -> usize {
    let ((oh, ow), taps) = (conv.output(), conv.kernel.0 * conv.kernel.1);
    cut(par, conv.batch * conv.channels.0.div_ceil(PANEL) * oh, 2 * taps * ow * PANEL)
}

/// Scratch for [`conv_bytes_depthwise`], in bytes.
pub fn conv_bytes_depthwise_scratch(conv: &Conv2d, par: &dyn Parallel) -> usize {
    if conv.is_depthwise() { tasks(conv, par) * task_len(conv) } else { 0 }
}

/// Depthwise convolution from blocked channels to blocked channels; weights from [`pack_depthwise`]. `start` is added to
/// the sums (the zero point of x is taken off before). The result in `y` has the type that `f` gives.
///
/// # Panics
/// If the convolution is not [`Conv2d::is_depthwise`], or a slice is shorter than needed ([`Conv2d::input_len`],
/// [`Conv2d::output_len`], [`conv_bytes_depthwise_scratch`]), or the scratch memory not aligned for i32.
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
    assert!(x.bytes.len() >= conv.input_len(), "x: slice too short");
    assert!(w.len() >= blocks * taps * PANEL, "weights: slice too short");
    assert!(start.len() >= blocks * PANEL, "start: slice too short");
    f.check(blocks * PANEL, conv.output_len(), y.len());
    if ow == 0 || oh == 0 || conv.batch == 0 {
        return;
    }
    let (tasks, each) = (tasks(conv, par), task_len(conv));
    let each = each / 4;
    let scratch: &mut [i32] = bytemuck::cast_slice_mut(&mut scratch[..tasks * each * 4]);
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
    memory: &'a mut [i32],
}

impl ByteKernel for Rows<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Bytes>(self, s: S) {
        let (p, c) = (self.plan, self.plan.conv);
        let pw = width(c);
        let reach = (c.kernel.0 - 1) * c.dilation.0 + 1;
        let (ring, rest) = self.memory.split_at_mut(reach * pw * PANEL);
        let (weights, from) = rest.split_at_mut(c.kernel.0 * quads(c) * PANEL);
        let mut row = self.rows.start;
        while row < self.rows.end {
            // The rows of this task that lie in one plane.
            let (plane, first) = (row / p.oh, row % p.oh);
            let count = (self.rows.end - row).min(p.oh - first);
            let block = plane % p.blocks;
            gather(p, block, weights, from);
            // The next input row (with pads) to be brought into quads; row `i` lies in place `i % reach`.
            let mut next = first * c.stride.0;
            for oy in first..first + count {
                let top = oy * c.stride.0;
                next = next.max(top);
                while next < top + reach {
                    let to = &mut ring[next % reach * pw * PANEL..][..pw * PANEL];
                    interleave(s, p, plane, next, to);
                    next += 1;
                }
                let tiles = p.ow.div_ceil(most::<S>());
                for i in 0..tiles {
                    let cols = part(p.ow, tiles, i);
                    let at = ((plane * p.oh + oy) * p.ow + cols.start) * PANEL;
                    let t = Tile { plan: p, ring, weights, from, top, ox: cols.start, at, block };
                    width_of(s, cols.len(), &t);
                }
            }
            row += count;
        }
    }
}

/// The weights of a block as `[row][quad][16]` quads, zeros past the end of a row, and the sums that take off the zero
/// point of x.
fn gather(p: &Plan<'_>, block: usize, weights: &mut [i32], from: &mut [i32]) {
    let (kh, kw) = p.conv.kernel;
    let packed = &p.w[block * kh * kw * PANEL..][..kh * kw * PANEL];
    let zero = p.x.zero_as_u8();
    weights.fill(0);
    from.fill(0);
    for ky in 0..kh {
        for kx in 0..kw {
            let to = &mut weights[(ky * quads(p.conv) + kx / 4) * PANEL..][..PANEL];
            let taps = &packed[(ky * kw + kx) * PANEL..][..PANEL];
            for ((to, from), tap) in to.iter_mut().zip(from.iter_mut()).zip(taps) {
                *to |= i32::from(*tap) << (kx % 4 * 8);
                *from = from.wrapping_sub(zero * i32::from(*tap as i8));
            }
        }
    }
}

/// Row `y` (with pads) of a plane as u8: of each pixel and channel a quad of the pixel and those that the kernel meets
/// next, the zero point where there are none.
#[inline(always)]
fn interleave<S: Bytes>(s: S, p: &Plan<'_>, plane: usize, y: usize, to: &mut [i32]) {
    let c = p.conv;
    let ((h, w), y) = (c.input, y.wrapping_sub(c.pads_begin.0));
    let (left, pw, dilation) = (c.pads_begin.1, width(c), c.dilation.1);
    let zero = p.x.zero_as_u8();
    if y >= h {
        to.fill(i32::from_le_bytes([zero as u8; 4]));
        return;
    }
    let from = &p.x.bytes[(plane * h + y) * w * PANEL..][..w * PANEL];
    let to = &mut to[..pw * PANEL];
    let zero = s.isplat(zero);
    for lane in (0..PANEL).step_by(S::LANES) {
        for first in 0..dilation.min(pw) {
            let mut quad = s.isplat(0);
            // Each quad is the one before with its first pixel out and another in, once three are there.
            for i in (first..pw + 3 * dilation).step_by(dilation) {
                let x = i.wrapping_sub(left);
                let pixel = if x < w {
                    // SAFETY: rows hold whole blocks of 16, which registers divide, and pixel `x` is one of the row's.
                    let v = unsafe { s.widen(from.as_ptr().add(x * PANEL + lane)) };
                    // The sign of i8 flipped, as an addition in eight bits.
                    if p.x.signed { s.iand(s.iadd(v, s.isplat(128)), s.isplat(255)) } else { v }
                } else {
                    zero
                };
                let kept = s.iand(s.isra::<8>(quad), s.isplat(0x00ff_ffff));
                quad = s.iadd(kept, s.ishl::<24>(pixel));
                if i >= first + 3 * dilation {
                    // SAFETY: pixel `i - 3 * dilation` is below `pw`, and rows hold whole blocks as above.
                    unsafe { s.store_i(to.as_mut_ptr().add((i - 3 * dilation) * PANEL + lane), quad) };
                }
            }
        }
    }
}

/// Most pixels of a tile that the tier's registers hold.
#[inline(always)]
fn most<S: Bytes>() -> usize {
    if S::QUAD_ROWS[0] >= TILE { TILE } else { 10 }
}

/// A few neighbouring pixels of an output row.
struct Tile<'a> {
    plan: &'a Plan<'a>,
    ring: &'a [i32],
    weights: &'a [i32],
    /// What the sums start from.
    from: &'a [i32],
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
                $($w if $w <= most::<S>() => strided::<S, $w>(s, t),)*
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
        let (kh, quads) = (c.kernel.0, quads(c));
        let stride = if STRIDE > 0 { STRIDE } else { c.stride.1 };
        let (px, pw) = (stride * PANEL, width(c));
        let reach = (kh - 1) * c.dilation.0 + 1;
        let mut buffer = Buffer::new();
        let out = buffer.ptr();
        // A block is several registers wide on narrow tiers: they are independent convolutions.
        for lane in (0..PANEL).step_by(S::LANES) {
            // SAFETY: the ring holds all rows that the kernel reaches, each as wide as the input with its pads, within
            // which the first taps of all quads of all pixels lie; the weights hold as many quads; the buffer holds `W`
            // pixels.
            unsafe {
                let mut sums = [s.load_i(t.from.as_ptr().add(lane)); W];
                for ky in 0..kh {
                    let row = (t.top + ky * c.dilation.0) % reach;
                    let row = t.ring.as_ptr().add((row * pw + t.ox * stride) * PANEL + lane);
                    let weights = t.weights.as_ptr().add(ky * quads * PANEL + lane);
                    for k in 0..quads {
                        let w = s.weights(weights.add(k * PANEL).cast());
                        let from = row.add(4 * k * c.dilation.1 * PANEL);
                        for i in 0..W {
                            sums[i] = s.dot(sums[i], s.quads(from.add(i * px).cast()), w);
                        }
                    }
                }
                for i in 0..W {
                    s.store_i(out.add(i * PANEL + lane), sums[i]);
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
