//! Resampling, axis after axis, by the formulas of ONNX `Resize` (operator specification, and there for `antialias`).

use super::array::Array;
use super::index::{check_axis, count};
use super::moves::lines;
use super::scalar::Scalar;
use super::{Cx, InterpError, MAX_ELEMENTS, Result, shape_error};
use crate::{Coordinate, Resize, ResizeMode};
use planc_tensor::Tensor;

/// Which samples an output position takes, with their weights; `None` outside of the region of interest.
type Taps = Option<Vec<(usize, f64)>>;

pub(super) fn resize(cx: &Cx<'_>, r: &Resize) -> Result<Vec<Tensor>> {
    let x = cx.array(0)?;
    let shape = cx.shape(0)?;
    let rank = x.shape.len();
    if shape.len() != rank || (0..rank).any(|a| !r.axes.contains(&a) && shape[a] != x.shape[a]) {
        return shape_error(format!("{:?} resampled along {:?} is not {shape:?}", x.shape, r.axes));
    }
    if r.scales.as_ref().is_some_and(|s| s.len() != r.axes.len()) {
        return shape_error("needs a scale for each axis");
    }
    if r.coordinate == Coordinate::CropAndResize && r.roi.len() != 2 * r.axes.len() {
        return shape_error("the region of interest needs a start and an end for each axis");
    }
    let mut current = Array { data: x.data.iter().map(|v| Scalar::Float(v.as_f64())).collect(), ..x.clone() };
    // Positions outside of the region of interest are marked: no later axis may bring them back.
    let mut outside = vec![false; current.data.len()];
    for (n, axis) in r.axes.iter().enumerate() {
        check_axis(*axis, rank)?;
        if r.axes[..n].contains(axis) {
            return shape_error(format!("axis {axis} is there twice"));
        }
        let (from, to) = (x.shape[*axis], shape[*axis]);
        if from == 0 && to > 0 {
            return Err(InterpError::Value("an empty axis has no samples".into()));
        }
        let scale = r.scales.as_ref().map_or(to as f64 / from as f64, |s| f64::from(s[n]));
        if to > 0 && !(scale.is_finite() && scale > 1e-6) {
            return Err(InterpError::Value(format!("the scale {scale} is out of range")));
        }
        let roi = if r.roi.len() == 2 * r.axes.len() { [r.roi[n], r.roi[r.axes.len() + n]] } else { [0.0, 1.0] };
        let taps: Vec<Taps> = (0..to).map(|i| taps(r, i, from, to, scale, roi.map(f64::from))).collect();
        let mut next_shape = current.shape.clone();
        next_shape[*axis] = to;
        let count = count(&next_shape);
        if count > MAX_ELEMENTS {
            return Err(InterpError::Limit(format!("an image of {next_shape:?} is too large")));
        }
        let (mut data, mut out) = (vec![Scalar::Float(0.0); count], vec![false; count]);
        for (line, target) in lines(&current.shape, *axis)?.into_iter().zip(lines(&next_shape, *axis)?) {
            for (i, to) in target.into_iter().enumerate() {
                let Some(taps) = &taps[i] else {
                    out[to] = true;
                    continue;
                };
                // What is outside is so along whole lines of the axes before: any sample tells.
                out[to] = taps.iter().any(|(s, _)| outside[line[*s]]);
                let single = matches!(r.mode, ResizeMode::Nearest(_));
                let sum = |sum: f64, (s, w): &(usize, f64)| sum + w * current.data[line[*s]].as_f64();
                let v = if single { current.data[line[taps[0].0]].as_f64() } else { taps.iter().fold(0.0, sum) };
                data[to] = Scalar::Float(v);
            }
        }
        current = Array { shape: next_shape, data, ..current };
        outside = out;
    }
    if matches!(r.mode, ResizeMode::Nearest(_)) && !x.dtype.is_float() {
        // Nearest copies: integers stay exact only below 2^53.
        let exact = x.data.iter().all(|v| v.as_f64().abs() < 9e15);
        if !exact {
            return Err(InterpError::Unsupported("integers beyond 2^53 are not resampled".into()));
        }
    }
    let extrapolated = Scalar::Float(r.extrapolation.into());
    cx.store(current.data.into_iter().zip(outside).map(|(v, out)| if out { extrapolated } else { v }).collect())
}

/// The samples that output position `i` of an axis takes.
fn taps(r: &Resize, i: usize, from: usize, to: usize, scale: f64, roi: [f64; 2]) -> Taps {
    let (x, last) = (i as f64, from as f64 - 1.0);
    // The extent before rounding: it enters the formulas where the model gives scales.
    let extent = scale * from as f64;
    let half = (x + 0.5) / scale - 0.5;
    let at = match r.coordinate {
        Coordinate::HalfPixel => half,
        Coordinate::HalfPixelSymmetric => from as f64 / 2.0 * (1.0 - to as f64 / extent) + half,
        Coordinate::PytorchHalfPixel if to > 1 => half,
        Coordinate::AlignCorners if extent != 1.0 => x * last / (extent - 1.0),
        Coordinate::PytorchHalfPixel | Coordinate::AlignCorners => 0.0,
        Coordinate::Asymmetric => x / scale,
        Coordinate::TfHalfPixelForNn => (x + 0.5) / scale,
        Coordinate::CropAndResize if extent != 1.0 => roi[0] * last + x * (roi[1] - roi[0]) * last / (extent - 1.0),
        Coordinate::CropAndResize => 0.5 * (roi[0] + roi[1]) * last,
    };
    if r.coordinate == Coordinate::CropAndResize && !(0.0..=last).contains(&at) {
        return None;
    }
    let clamp = |s: f64| s.clamp(0.0, last) as usize;
    let floor = at.floor();
    // Shrinking with a low-pass stretches the filter.
    let stretch = if r.antialias { scale.min(1.0) } else { 1.0 };
    let (radius, filter): (f64, Box<dyn Fn(f64) -> f64>) = match r.mode {
        ResizeMode::Nearest(nearest) => return Some(vec![(clamp(nearest.of(at)), 1.0)]),
        ResizeMode::Linear => (1.0, Box::new(|d| (1.0 - d.abs()).max(0.0))),
        ResizeMode::Cubic { a } => (2.0, Box::new(move |d| cubic(d.abs(), a.into()))),
    };
    let reach = (radius / stretch).ceil() as i64;
    let mut taps = vec![];
    for k in -reach..=reach {
        let sample = floor + k as f64;
        let weight = filter((sample - at) * stretch);
        let excluded = r.exclude_outside && !(0.0..=last).contains(&sample);
        if weight != 0.0 && !excluded {
            taps.push((clamp(sample), weight));
        }
    }
    let sum: f64 = taps.iter().map(|(_, w)| w).sum();
    if r.antialias || r.exclude_outside {
        taps.iter_mut().for_each(|(_, w)| *w /= sum);
    }
    if taps.is_empty() { Some(vec![(clamp(floor), 1.0)]) } else { Some(taps) }
}

/// Cubic convolution (Keys 1981) at distance `d`.
fn cubic(d: f64, a: f64) -> f64 {
    if d <= 1.0 {
        ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0
    } else if d < 2.0 {
        ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a
    } else {
        0.0
    }
}
