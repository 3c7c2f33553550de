//! Resampling of one axis at a time: which input elements an output position is made of, with which weights.
//!
//! Coordinates are computed in f64. The filters are the triangle (linear) and the cubic convolution of Keys (1981);
//! with `antialias` they are stretched by the inverse scale when shrinking.

use crate::OpError;
use planc_kir::{Coordinate, Nearest, ResizeMode};

/// How one axis is resampled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    /// Extent before.
    pub from: usize,
    /// Extent after.
    pub to: usize,
    /// Factor that enters the coordinates.
    pub scale: f64,
    /// Region of interest, as a part of the extent.
    pub roi: [f64; 2],
}

/// What is common to all axes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filter {
    /// Interpolation.
    pub mode: ResizeMode,
    /// Positions.
    pub coordinate: Coordinate,
    /// Low-pass when shrinking.
    pub antialias: bool,
    /// Samples outside do not contribute.
    pub exclude_outside: bool,
}

impl Axis {
    /// Whether the axis stays as it is.
    pub(super) fn is_identity(&self, coordinate: Coordinate) -> bool {
        let whole = coordinate != Coordinate::CropAndResize || self.roi == [0.0, 1.0];
        self.from == self.to && self.scale == 1.0 && whole
    }

    /// The input position of output position `y`; `None` outside of the region of interest.
    pub(super) fn position(&self, coordinate: Coordinate, y: usize) -> Option<f64> {
        let (n, y) = (self.from as f64, y as f64);
        // The extent after resizing before it was rounded.
        let resized = self.scale * n;
        let half = (y + 0.5) / self.scale - 0.5;
        Some(match coordinate {
            Coordinate::HalfPixel => half,
            Coordinate::TfHalfPixelForNn => (y + 0.5) / self.scale,
            Coordinate::HalfPixelSymmetric => n / 2.0 * (1.0 - self.to as f64 / resized) + half,
            Coordinate::PytorchHalfPixel if self.to <= 1 => 0.0,
            Coordinate::PytorchHalfPixel => half,
            Coordinate::AlignCorners if resized == 1.0 => 0.0,
            Coordinate::AlignCorners => y * (n - 1.0) / (resized - 1.0),
            Coordinate::Asymmetric => y / self.scale,
            Coordinate::CropAndResize => {
                let [start, end] = self.roi;
                let span = (end - start) * (n - 1.0);
                let at = if resized == 1.0 { span / 2.0 } else { y * span / (resized - 1.0) };
                let at = at + start * (n - 1.0);
                return (0.0..=n - 1.0).contains(&at).then_some(at);
            }
        })
    }

    /// The input element nearest to output position `y`; `None` outside of the region of interest.
    pub(super) fn nearest(&self, filter: &Filter, nearest: Nearest, y: usize) -> Option<usize> {
        let x = self.position(filter.coordinate, y)?;
        Some(nearest.of(x).clamp(0.0, self.from.saturating_sub(1) as f64) as usize)
    }

    /// The input elements and weights of output position `y`; `None` outside of the region of interest.
    fn weights(&self, filter: &Filter, y: usize, out: &mut Vec<(usize, f64)>) -> Option<()> {
        out.clear();
        let x = self.position(filter.coordinate, y)?;
        let stretch = if filter.antialias { self.scale.min(1.0) } else { 1.0 };
        let cubic = if let ResizeMode::Cubic { a } = filter.mode { Some(f64::from(a)) } else { None };
        let reach = if cubic.is_some() { 2.0 } else { 1.0 } / stretch;
        let last = self.from as i64 - 1;
        let (first, end) = ((x - reach).floor() as i64, (x + reach).ceil() as i64);
        let mut sum = 0.0;
        for i in first..=end {
            let distance = ((i as f64 - x) * stretch).abs();
            let weight = cubic.map_or((1.0 - distance).max(0.0), |a| keys(distance, a));
            if weight == 0.0 || (filter.exclude_outside && !(0..=last).contains(&i)) {
                continue;
            }
            sum += weight;
            out.push((i.clamp(0, last) as usize, weight));
        }
        if (filter.antialias || filter.exclude_outside) && sum != 0.0 {
            out.iter_mut().for_each(|(_, w)| *w /= sum);
        }
        Some(())
    }
}

/// The cubic convolution kernel with coefficient `a` at a distance.
fn keys(x: f64, a: f64) -> f64 {
    if x <= 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a
    } else {
        0.0
    }
}

/// `x` of `[outer, axis.from, inner]` resampled to `[outer, axis.to, inner]`; `outside` where the position is outside of
/// the region of interest.
///
/// # Errors
/// When there is nothing to sample, or the scale makes windows that are too wide to compute.
pub(super) fn resample(
    x: &[f64],
    outer: usize,
    inner: usize,
    axis: &Axis,
    filter: &Filter,
    outside: f64,
) -> Result<Vec<f64>, OpError> {
    if axis.from == 0 {
        return Err(OpError::value("an empty axis cannot be resized"));
    }
    // The windows of all positions together cover the input a few times; anything beyond is a hostile scale.
    if filter.antialias && (axis.to as f64) / axis.scale.min(1.0) > 64.0 * (axis.from as f64 + axis.to as f64) {
        return Err(OpError::value(format!("a scale of {} does not fit the extents", axis.scale)));
    }
    let mut out = vec![0.0; outer * axis.to * inner];
    let mut weights = Vec::new();
    for y in 0..axis.to {
        let inside = axis.weights(filter, y, &mut weights).is_some();
        for o in 0..outer {
            let row = &mut out[(o * axis.to + y) * inner..][..inner];
            if !inside {
                row.fill(outside);
            }
            for (i, w) in &weights {
                let source = &x[(o * axis.from + i) * inner..][..inner];
                row.iter_mut().zip(source).for_each(|(r, s)| *r += w * s);
            }
        }
    }
    Ok(out)
}
