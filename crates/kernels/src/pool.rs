//! Pooling over windows, on plain NC(D)HW and on channel blocks (`[n][c / 16][(d)][h][w][16]`).

use crate::isa::{Isa, Kernel, Simd};
use crate::micro::PANEL;
use crate::par::{Parallel, Shared, ranges};

/// What is computed over a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PoolOp {
    /// The largest input.
    Max,
    /// The mean of the inputs in the window, pads counting as zeros if `count_include_pad`.
    Average {
        /// Whether pads count. Positions past the pads (of a rounded-up output size) never do.
        count_include_pad: bool,
    },
    /// `(sum of |x|^p)^(1/p)`
    Lp(f32),
}

/// A pooling over three spatial dimensions; fewer are padded in front with 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Images times channels, or images times channel blocks.
    pub planes: usize,
    /// Input depth, height, width.
    pub input: [usize; 3],
    /// Output sizes, rounded down or up as the model says.
    pub output: [usize; 3],
    /// Window sizes.
    pub kernel: [usize; 3],
    /// Strides.
    pub stride: [usize; 3],
    /// Dilations, at least 1.
    pub dilation: [usize; 3],
    /// Pads before.
    pub pads_begin: [usize; 3],
    /// Pads after.
    pub pads_end: [usize; 3],
}

/// The taps of one window along one axis.
#[derive(Clone, Copy)]
struct Window {
    /// Input index of the first tap that exists, taps that exist, and taps that count as inputs or pads.
    first: usize,
    count: usize,
    padded: usize,
}

impl Pool {
    fn in_pixels(&self) -> usize {
        self.input.iter().product()
    }

    fn out_pixels(&self) -> usize {
        self.output.iter().product()
    }

    pub(crate) fn check(&self, unit: usize, x: usize, y: usize) {
        assert!(x >= self.planes * self.in_pixels() * unit, "x: slice too short");
        assert!(y >= self.planes * self.out_pixels() * unit, "y: slice too short");
        assert!(self.dilation.iter().all(|&d| d > 0), "zero dilation");
    }

    /// The inputs of a window along one axis that exist.
    pub(crate) fn taps(&self, axis: usize, out: usize) -> std::iter::StepBy<std::ops::Range<usize>> {
        let (w, d) = (self.window(axis, out), self.dilation[axis]);
        (w.first..w.first + w.count * d).step_by(d)
    }

    #[inline(always)]
    fn window(&self, axis: usize, out: usize) -> Window {
        let (d, size, begin) = (self.dilation[axis], self.input[axis], self.pads_begin[axis]);
        // Positions counted from the first pad.
        let start = out * self.stride[axis];
        let taps = |end: usize| end.saturating_sub(start).div_ceil(d).min(self.kernel[axis]);
        let before = begin.saturating_sub(start).div_ceil(d).min(self.kernel[axis]);
        let first = (start + before * d).saturating_sub(begin);
        let count = taps(begin + size).saturating_sub(before);
        Window { first, count, padded: taps(begin + size + self.pads_end[axis]) }
    }
}

/// Pooling on channel blocks: `planes` is images times blocks.
///
/// # Panics
/// If a slice is too short.
pub fn pool_blocked(isa: Isa, par: &dyn Parallel, pool: &Pool, op: PoolOp, x: &[f32], y: &mut [f32]) {
    pool.check(PANEL, x.len(), y.len());
    let y = Shared::new(y);
    let taps = pool.kernel.iter().product::<usize>();
    let rows = pool.planes * pool.output[0] * pool.output[1];
    ranges(par, rows, pool.output[2] * taps * PANEL, |rows| {
        isa.run(Rows { pool, op, rows, x, y: y.get() });
    });
}

struct Rows<'a> {
    pool: &'a Pool,
    op: PoolOp,
    rows: std::ops::Range<usize>,
    x: &'a [f32],
    y: *mut f32,
}

impl Kernel for Rows<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let p = self.pool;
        let [_, oh, ow] = p.output;
        for row in self.rows.clone() {
            let (plane, z, y) = (row / (p.output[0] * oh), row / oh % p.output[0], row % oh);
            let (z, y) = (p.window(0, z), p.window(1, y));
            for ox in 0..ow {
                let x = p.window(2, ox);
                let window = (plane, [z, y, x]);
                let at = (row * ow + ox) * PANEL;
                for lane in (0..PANEL).step_by(S::LANES) {
                    let v = match self.op {
                        PoolOp::Max => self.fold(s, window, lane, s.splat(f32::NEG_INFINITY), |acc, v| s.max(acc, v)),
                        PoolOp::Average { .. } => {
                            let sum = self.fold(s, window, lane, s.zero(), |acc, v| s.add(acc, v));
                            s.mul(sum, s.splat(1.0 / divisor(self.op, &window.1)))
                        }
                        PoolOp::Lp(p) => self.lp(s, window, lane, p),
                    };
                    // SAFETY: the output pixel lies within `y`, whose length was checked.
                    unsafe { s.store(self.y.add(at + lane), v) };
                }
            }
        }
    }
}

impl Rows<'_> {
    #[inline(always)]
    fn fold<S: Simd>(
        &self,
        s: S,
        (plane, [z, y, x]): (usize, [Window; 3]),
        lane: usize,
        start: S::V,
        f: impl Fn(S::V, S::V) -> S::V,
    ) -> S::V {
        let p = self.pool;
        let [d, h, w] = p.input;
        let mut acc = start;
        for iz in 0..z.count {
            for iy in 0..y.count {
                let (az, ay) = (z.first + iz * p.dilation[0], y.first + iy * p.dilation[1]);
                let row = ((plane * d + az) * h + ay) * w + x.first;
                for ix in 0..x.count {
                    // SAFETY: a window only holds positions inside the image; the length of `x` was checked.
                    let v = unsafe { s.load(self.x.as_ptr().add((row + ix * p.dilation[2]) * PANEL + lane)) };
                    acc = f(acc, v);
                }
            }
        }
        acc
    }

    #[inline(always)]
    fn lp<S: Simd>(&self, s: S, window: (usize, [Window; 3]), lane: usize, p: f32) -> S::V {
        if p == 1.0 {
            self.fold(s, window, lane, s.zero(), |acc, v| s.add(acc, s.abs(v)))
        } else if p == 2.0 {
            s.sqrt(self.fold(s, window, lane, s.zero(), |acc, v| s.fma(v, v, acc)))
        } else {
            let sum = self.fold(s, window, lane, s.zero(), |acc, v| s.add(acc, power(s, s.abs(v), p)));
            power(s, sum, 1.0 / p)
        }
    }
}

/// `v` to the power `p`, for `v` not below zero.
#[inline(always)]
fn power<S: Simd>(s: S, v: S::V, p: f32) -> S::V {
    let y = crate::vmath::exp(s, s.mul(s.splat(p), crate::vmath::log(s, v)));
    s.select(s.eq(v, s.zero()), s.zero(), y)
}

#[inline(always)]
fn divisor(op: PoolOp, window: &[Window; 3]) -> f32 {
    let padded = op == PoolOp::Average { count_include_pad: true };
    window.iter().map(|w| if padded { w.padded } else { w.count }).product::<usize>() as f32
}

/// Pooling on plain tensors: `planes` is images times channels. With `indices`, [`PoolOp::Max`] also writes where each
/// maximum was, as ONNX counts: over the whole input tensor, row-major (the first of equals).
///
/// # Panics
/// If a slice is too short.
pub fn pool_plain(par: &dyn Parallel, pool: &Pool, op: PoolOp, x: &[f32], y: &mut [f32], indices: Option<&mut [i64]>) {
    pool.check(1, x.len(), y.len());
    let (pixels, in_pixels) = (pool.out_pixels(), pool.in_pixels());
    let indices = indices.map(|indices| {
        assert!(indices.len() >= pool.planes * pixels, "indices: slice too short");
        Shared::new(indices)
    });
    let y = Shared::new(y);
    let taps = pool.kernel.iter().product::<usize>();
    let [_, oh, ow] = pool.output;
    let [_, h, w] = pool.input;
    ranges(par, pool.planes * pixels, 4 * taps, |range| {
        for out in range {
            let (plane, p) = (out / pixels, out % pixels);
            let [wz, wy, wx] = [pool.window(0, p / (oh * ow)), pool.window(1, p / ow % oh), pool.window(2, p % ow)];
            let image = &x[plane * in_pixels..][..in_pixels];
            let taps = (0..wz.count).flat_map(|z| (0..wy.count).map(move |y| (z, y))).flat_map(|(z, y)| {
                let (z, y) = (wz.first + z * pool.dilation[0], wy.first + y * pool.dilation[1]);
                (0..wx.count).map(move |x| (z * h + y) * w + wx.first + x * pool.dilation[2])
            });
            let value = match op {
                PoolOp::Max => {
                    let mut best = (f32::NEG_INFINITY, None);
                    for at in taps {
                        if image[at] > best.0 || best.1.is_none() {
                            best = (image[at], Some(at));
                        }
                    }
                    if let Some(indices) = indices {
                        let index = (plane * in_pixels + best.1.unwrap_or(0)) as i64;
                        // SAFETY: `out` is within the slice and belongs to one task.
                        unsafe { *indices.get().add(out) = index };
                    }
                    best.0
                }
                PoolOp::Average { .. } => taps.map(|at| image[at]).sum::<f32>() * (1.0 / divisor(op, &[wz, wy, wx])),
                PoolOp::Lp(p) => {
                    taps.map(|at| f64::from(image[at]).abs().powf(p.into())).sum::<f64>().powf(1.0 / f64::from(p))
                        as f32
                }
            };
            // SAFETY: `out` is within the slice and belongs to one task.
            unsafe { *y.get().add(out) = value };
        }
    });
}

/// What a global pooling computes over all pixels of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GlobalPool {
    /// The mean.
    Average,
    /// The largest.
    Max,
}

/// Global pooling on channel blocks: `x[plane][pixel][16]` to `y[plane][16]`. (On plain tensors it is a reduction.)
///
/// # Panics
/// If a slice is too short.
pub fn global_pool_blocked(
    isa: Isa,
    par: &dyn Parallel,
    op: GlobalPool,
    planes: usize,
    pixels: usize,
    x: &[f32],
    y: &mut [f32],
) {
    assert!(x.len() >= planes * pixels * PANEL, "x: slice too short");
    assert!(y.len() >= planes * PANEL, "y: slice too short");
    let y = Shared::new(y);
    ranges(par, planes, pixels * PANEL, |planes| isa.run(Global { op, planes, pixels, x, y: y.get() }));
}

struct Global<'a> {
    op: GlobalPool,
    planes: std::ops::Range<usize>,
    pixels: usize,
    x: &'a [f32],
    y: *mut f32,
}

impl Kernel for Global<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for plane in self.planes {
            for lane in (0..PANEL).step_by(S::LANES) {
                let start = if self.op == GlobalPool::Max { f32::NEG_INFINITY } else { 0.0 };
                let mut total = s.splat(start);
                // Four chains hide the latency of additions; blocks of pixels keep long sums accurate.
                for block in (0..self.pixels).step_by(256) {
                    let mut acc = [s.splat(start); 4];
                    for pixel in block..(block + 256).min(self.pixels) {
                        // SAFETY: the pixel lies within the plane, whose length was checked.
                        let v = unsafe { s.load(self.x.as_ptr().add((plane * self.pixels + pixel) * PANEL + lane)) };
                        let a = &mut acc[pixel % 4];
                        *a = if self.op == GlobalPool::Max { s.max(*a, v) } else { s.add(*a, v) };
                    }
                    let join = |a, b| if self.op == GlobalPool::Max { s.max(a, b) } else { s.add(a, b) };
                    total = join(total, join(join(acc[0], acc[1]), join(acc[2], acc[3])));
                }
                if self.op == GlobalPool::Average {
                    total = s.div(total, s.splat(self.pixels as f32));
                }
                // SAFETY: the plane lies within `y`, whose length was checked.
                unsafe { s.store(self.y.add(plane * PANEL + lane), total) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    //! Every pooling in both layouts against a naive one in f64.

    use super::*;
    use crate::check::{Rng, close, every};

    /// Value and index of every output.
    fn naive(p: &Pool, op: PoolOp, x: &[f32]) -> (Vec<f64>, Vec<i64>) {
        let ([d, h, w], [od, oh, ow]) = (p.input, p.output);
        let (mut values, mut indices) = (Vec::new(), Vec::new());
        for plane in 0..p.planes {
            for o in 0..od * oh * ow {
                let at = [o / (oh * ow), o / ow % oh, o % ow];
                let (mut sum, mut count, mut padded, mut best) = (0.0f64, 0.0, 0.0, (f64::NEG_INFINITY, 0));
                for t in 0..p.kernel.iter().product::<usize>() {
                    let k = [t / (p.kernel[1] * p.kernel[2]), t / p.kernel[2] % p.kernel[1], t % p.kernel[2]];
                    let pos: [usize; 3] = std::array::from_fn(|a| at[a] * p.stride[a] + k[a] * p.dilation[a]);
                    if (0..3).all(|a| pos[a] < p.pads_begin[a] + p.input[a] + p.pads_end[a]) {
                        padded += 1.0;
                    }
                    let [z, y, u]: [usize; 3] = std::array::from_fn(|a| pos[a].wrapping_sub(p.pads_begin[a]));
                    if z < d && y < h && u < w {
                        let at = ((plane * d + z) * h + y) * w + u;
                        let v = f64::from(x[at]);
                        count += 1.0;
                        sum += if let PoolOp::Lp(p) = op { v.abs().powf(p.into()) } else { v };
                        if v > best.0 {
                            best = (v, at as i64);
                        }
                    }
                }
                values.push(match op {
                    PoolOp::Max => best.0,
                    PoolOp::Average { count_include_pad } => sum / if count_include_pad { padded } else { count },
                    PoolOp::Lp(p) => sum.powf(1.0 / f64::from(p)),
                });
                indices.push(best.1);
            }
        }
        (values, indices)
    }

    fn cases() -> Vec<Pool> {
        let base = Pool {
            planes: 2,
            input: [1, 7, 9],
            output: [1, 4, 5],
            kernel: [1, 3, 3],
            stride: [1, 2, 2],
            dilation: [1; 3],
            pads_begin: [0, 1, 1],
            pads_end: [0, 1, 1],
        };
        vec![
            base,
            Pool { output: [1, 7, 9], stride: [1; 3], ..base },
            // Rounded up: the last windows reach past the pads.
            Pool { input: [1, 6, 8], output: [1, 3, 4], pads_begin: [0; 3], pads_end: [0; 3], ..base },
            Pool { kernel: [1, 2, 4], dilation: [1, 2, 1], output: [1, 4, 4], ..base },
            Pool {
                input: [4, 5, 6],
                output: [2, 2, 3],
                kernel: [2, 3, 2],
                stride: [2, 2, 2],
                pads_begin: [0; 3],
                pads_end: [0; 3],
                ..base
            },
            Pool {
                planes: 5,
                input: [1, 1, 1],
                output: [1, 1, 1],
                kernel: [1, 1, 1],
                stride: [1; 3],
                pads_begin: [0; 3],
                pads_end: [0; 3],
                ..base
            },
            Pool { planes: 0, ..base },
        ]
    }

    const OPS: [PoolOp; 6] = [
        PoolOp::Max,
        PoolOp::Average { count_include_pad: false },
        PoolOp::Average { count_include_pad: true },
        PoolOp::Lp(1.0),
        PoolOp::Lp(2.0),
        PoolOp::Lp(3.0),
    ];

    #[test]
    fn plain() {
        for p in cases() {
            let x = Rng::new(2).vec(p.planes * p.in_pixels());
            for op in OPS {
                let (want, want_indices) = naive(&p, op, &x);
                every(
                    want.len(),
                    |_, par, y| {
                        let mut indices = vec![0; y.len()];
                        pool_plain(par, &p, op, &x, y, Some(&mut indices));
                        assert!(op != PoolOp::Max || indices == want_indices);
                    },
                    |_, y| close(y, &want, 1e-6, &format!("{op:?} {p:?}")),
                );
            }
        }
    }

    #[test]
    fn blocked() {
        for p in cases() {
            // Sixteen plain planes for each block.
            let plain = Pool { planes: p.planes * PANEL, ..p };
            let (i, o) = (p.in_pixels(), p.out_pixels());
            let x = Rng::new(2).vec(plain.planes * i);
            let swap = |c: usize, pixels: usize| (c / PANEL / pixels * PANEL + c % PANEL) * pixels + c / PANEL % pixels;
            let input: Vec<f32> = (0..x.len()).map(|at| x[swap(at, i)]).collect();
            for op in OPS {
                let values = naive(&plain, op, &x).0;
                let want: Vec<f64> = (0..values.len()).map(|at| values[swap(at, o)]).collect();
                every(
                    want.len(),
                    |isa, par, y| pool_blocked(isa, par, &p, op, &input, y),
                    |tier, y| close(y, &want, 3e-6, &format!("{tier} {op:?} {p:?}")),
                );
            }
        }
    }

    #[test]
    fn global() {
        for (planes, pixels) in [(1, 1), (3, 49), (2, 1000), (0, 4)] {
            let x = Rng::new(6).vec(planes * pixels * PANEL);
            let at = |plane: usize, c: usize| (0..pixels).map(move |p| (plane * pixels + p) * PANEL + c);
            for op in [GlobalPool::Average, GlobalPool::Max] {
                let want: Vec<f64> = (0..planes * PANEL)
                    .map(|i| {
                        let values = at(i / PANEL, i % PANEL).map(|at| f64::from(x[at]));
                        match op {
                            GlobalPool::Average => values.sum::<f64>() / pixels as f64,
                            GlobalPool::Max => values.fold(f64::NEG_INFINITY, f64::max),
                        }
                    })
                    .collect();
                every(
                    want.len(),
                    |isa, par, y| global_pool_blocked(isa, par, op, planes, pixels, &x, y),
                    |tier, y| close(y, &want, 1e-6, &format!("{tier} {op:?} {planes}x{pixels}")),
                );
            }
        }
    }
}
