//! Resampling of the last two dimensions by tables of positions, which the caller computes for its coordinate rules.

use crate::isa::{Isa, Kernel, Simd};
use crate::micro::PANEL;
use crate::par::{Parallel, Shared, ranges};

/// Where one output row or column comes from: `shares.0 x[low] + shares.1 x[high]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// First input.
    pub low: usize,
    /// Second input; not read when its share is 0.
    pub high: usize,
    /// Shares of the two.
    pub shares: (f32, f32),
}

impl Sample {
    /// Exactly one input, as nearest-neighbour resampling takes.
    pub fn nearest(at: usize) -> Self {
        Self { low: at, high: at, shares: (1.0, 0.0) }
    }

    /// The inputs around position `at`, which lies between 0 and `last`.
    pub fn linear(at: f32, last: usize) -> Self {
        let low = (at as usize).min(last);
        let high = (low + 1).min(last);
        // Halves at the last input are what onnxruntime takes.
        let shares = if low == high { (0.5, 0.5) } else { (high as f32 - at, at - low as f32) };
        Self { low, high, shares }
    }
}

/// Bilinear (or, with [`Sample::nearest`], nearest) resampling of `planes` images of `input` height and width.
///
/// `unit` is the floats of a pixel: 1 for plain NCHW, 16 for NCHW16c (planes are then images times blocks).
///
/// A pixel is the sum of its four inputs times the products of their shares, upper row first, each operation rounded: the
/// order of onnxruntime. Results are equal to its, and to each other on all tiers. Quantised models need that: where such
/// a sum decides the scale or the rounding of what follows, the last bit of it can become a step.
///
/// # Panics
/// If a slice is too short or a sample lies outside the image.
#[allow(clippy::too_many_arguments)]
pub fn resize(
    isa: Isa,
    par: &dyn Parallel,
    unit: usize,
    planes: usize,
    input: (usize, usize),
    rows: &[Sample],
    columns: &[Sample],
    x: &[f32],
    y: &mut [f32],
) {
    assert!(unit == 1 || unit == PANEL, "pixels of {unit} floats");
    assert!(x.len() >= planes * input.0 * input.1 * unit, "x: slice too short");
    assert!(y.len() >= planes * rows.len() * columns.len() * unit, "y: slice too short");
    assert!(rows.iter().all(|s| s.low < input.0 && s.high < input.0), "row outside the image");
    assert!(columns.iter().all(|s| s.low < input.1 && s.high < input.1), "column outside the image");
    let y = Shared::new(y);
    ranges(par, planes * rows.len(), 4 * columns.len() * unit, |range| {
        isa.run(Task { unit, input, rows, columns, x, y: y.get(), range });
    });
}

struct Task<'a> {
    unit: usize,
    input: (usize, usize),
    rows: &'a [Sample],
    columns: &'a [Sample],
    x: &'a [f32],
    y: *mut f32,
    range: std::ops::Range<usize>,
}

impl Kernel for Task<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (h, w) = self.input;
        let line = w * self.unit;
        for row in self.range {
            let (plane, r) = (row / self.rows.len(), self.rows[row % self.rows.len()]);
            let image = &self.x[plane * h * line..][..h * line];
            let (top, bottom) = (&image[r.low * line..][..line], &image[r.high * line..][..line]);
            let from = row * self.columns.len() * self.unit;
            for (i, c) in self.columns.iter().enumerate() {
                let (left, right) = c.shares;
                let (upper, lower) = r.shares;
                // An input without a share is not read: it may be infinite.
                let terms = [
                    (top, c.low, left * upper),
                    (top, c.high, right * upper),
                    (bottom, c.low, left * lower),
                    (bottom, c.high, right * lower),
                ];
                let (line, at, share) = terms[0];
                if self.unit == 1 {
                    let mut sum = share * line[at];
                    for (line, at, share) in &terms[1..] {
                        if *share != 0.0 {
                            sum += share * line[*at];
                        }
                    }
                    // SAFETY: the output pixel exists, and the row belongs to this task.
                    unsafe { *self.y.add(from + i) = sum };
                    continue;
                }
                for lane in (0..PANEL).step_by(S::LANES) {
                    // SAFETY: samples were checked to lie inside the image; the output pixel exists.
                    unsafe {
                        let mut sum = s.mul(s.splat(share), s.load(line.as_ptr().add(at * PANEL + lane)));
                        for (line, at, share) in &terms[1..] {
                            if *share != 0.0 {
                                let x = s.load(line.as_ptr().add(at * PANEL + lane));
                                sum = s.add(sum, s.mul(s.splat(*share), x));
                            }
                        }
                        s.store(self.y.add(from + i * PANEL + lane), sum);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    //! Both layouts against f64.

    use super::*;
    use crate::check::{Rng, close, every};

    /// Half-pixel positions.
    fn samples(input: usize, output: usize, nearest: bool) -> Vec<Sample> {
        (0..output)
            .map(|o| {
                let at = ((o as f32 + 0.5) * input as f32 / output as f32 - 0.5).clamp(0.0, input as f32 - 1.0);
                if nearest { Sample::nearest(at.round() as usize) } else { Sample::linear(at, input - 1) }
            })
            .collect()
    }

    #[test]
    fn both_layouts() {
        for (planes, (h, w), (oh, ow)) in
            [(2, (5, 7), (10, 14)), (3, (8, 9), (3, 4)), (1, (1, 1), (4, 5)), (1, (6, 6), (6, 6))]
        {
            for nearest in [false, true] {
                let (rows, columns) = (samples(h, oh, nearest), samples(w, ow, nearest));
                for unit in [1, PANEL] {
                    let x = Rng::new(1).vec(planes * h * w * unit);
                    let mut want = Vec::new();
                    for plane in 0..planes {
                        for (r, c) in rows.iter().flat_map(|r| columns.iter().map(move |c| (r, c))) {
                            for lane in 0..unit {
                                let at = |y: usize, u: usize| f64::from(x[((plane * h + y) * w + u) * unit + lane]);
                                let wide = |(a, b): (f32, f32)| (f64::from(a), f64::from(b));
                                let ((upper, lower), (left, right)) = (wide(r.shares), wide(c.shares));
                                let line = |y| at(y, c.low) * left + at(y, c.high) * right;
                                want.push(line(r.low) * upper + line(r.high) * lower);
                            }
                        }
                    }
                    every(
                        want.len(),
                        |isa, par, y| resize(isa, par, unit, planes, (h, w), &rows, &columns, &x, y),
                        |tier, y| close(y, &want, 1e-6, &format!("{tier} {unit} {h}x{w} {oh}x{ow}")),
                    );
                }
            }
        }
    }
}
