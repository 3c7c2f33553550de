//! Resampling of the last two dimensions by tables of positions, which the caller computes for its coordinate rules.

use crate::isa::{Isa, Kernel, Simd};
use crate::micro::PANEL;
use crate::par::{Parallel, Shared, ranges};

/// Where one output row or column comes from: `(1 - weight) x[low] + weight x[high]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// First input.
    pub low: usize,
    /// Second input.
    pub high: usize,
    /// Share of the second.
    pub weight: f32,
}

impl Sample {
    /// Exactly one input, as nearest-neighbour resampling takes.
    pub fn nearest(at: usize) -> Self {
        Self { low: at, high: at, weight: 0.0 }
    }
}

/// Bilinear (or, with [`Sample::nearest`], nearest) resampling of `planes` images of `input` height and width.
///
/// `unit` is the floats of a pixel: 1 for plain NCHW, 16 for NCHW16c (planes are then images times blocks).
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
                if self.unit == 1 {
                    let upper = mix(top[c.low], top[c.high], c.weight);
                    let lower = mix(bottom[c.low], bottom[c.high], c.weight);
                    // SAFETY: the output pixel exists, and the row belongs to this task.
                    unsafe { *self.y.add(from + i) = mix(upper, lower, r.weight) };
                    continue;
                }
                for lane in (0..PANEL).step_by(S::LANES) {
                    // SAFETY: samples were checked to lie inside the image; the output pixel exists.
                    unsafe {
                        let at = |row: &[f32], p: usize| s.load(row.as_ptr().add(p * PANEL + lane));
                        let blend = |a, b, t: f32| {
                            // A weight of 0 must not turn an infinite neighbour into NaN.
                            if t == 0.0 { a } else { s.fma(s.sub(b, a), s.splat(t), a) }
                        };
                        let upper = blend(at(top, c.low), at(top, c.high), c.weight);
                        let lower = blend(at(bottom, c.low), at(bottom, c.high), c.weight);
                        s.store(self.y.add(from + i * PANEL + lane), blend(upper, lower, r.weight));
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn mix(a: f32, b: f32, t: f32) -> f32 {
    if t == 0.0 { a } else { a + (b - a) * t }
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
                let low = at as usize;
                if nearest {
                    Sample::nearest(at.round() as usize)
                } else {
                    Sample { low, high: (low + 1).min(input - 1), weight: at - low as f32 }
                }
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
                                let (t, u) = (f64::from(r.weight), f64::from(c.weight));
                                let line = |y| at(y, c.low) * (1.0 - u) + at(y, c.high) * u;
                                want.push(line(r.low) * (1.0 - t) + line(r.high) * t);
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
