//! Resampling: of the last two axes in vectors, of the axes before them as weighted sums of planes.

use super::{Cx, Operand, Output};
use crate::resize::{Sample, resize};
use planc_kir::{Coordinate, Resize, ResizeMode};
use planc_tensor::{DType, Layout};

/// Whether [`run`] computes it: nearest or linear.
pub(super) fn supports(spec: &Resize) -> bool {
    let mode = matches!(spec.mode, ResizeMode::Nearest(_) | ResizeMode::Linear);
    mode && !spec.antialias && spec.coordinate != Coordinate::CropAndResize
}

/// Whether [`run`] computes it over channels in blocks, whose images are resampled and nothing else.
pub(super) fn supports_blocks(spec: &Resize) -> bool {
    supports(spec) && spec.axes.iter().all(|a| *a >= 2)
}

/// `[x] -> [out]`.
pub(super) fn run(cx: &Cx<'_>, spec: &Resize, x: Operand<'_>, y: &mut Output<'_>) -> Result<(), String> {
    let rank = x.shape.len();
    let wrong = || format!("no resampling of {:?} to {:?}", x.shape, y.shape);
    if y.bytes.is_empty() {
        return Ok(());
    }
    if y.shape.len() != rank || x.shape.contains(&0) {
        return Err(wrong());
    }
    let given = |axis: usize| {
        let listed = spec.axes.iter().position(|a| *a == axis)?;
        spec.scales.as_ref()?.get(listed).copied()
    };
    let samples = |axis: usize| -> Vec<Sample> {
        let (from, to) = (x.shape[axis], y.shape[axis]);
        (0..to).map(|i| sample(spec, i, from, to, given(axis))).collect()
    };
    let lead = rank.saturating_sub(2);
    // The last two axes; a vector is an image of one row, a scalar one of one pixel.
    let end = |back: usize| match rank.checked_sub(back) {
        Some(axis) => (x.shape[axis], samples(axis)),
        None => (1, vec![Sample::nearest(0)]),
    };
    let ((height, rows), (width, columns)) = (end(2), end(1));
    let still = (0..lead).all(|a| x.shape[a] == y.shape[a] && given(a).is_none_or(|s| s == 1.0));
    let (unit, planes) = match x.layout {
        Layout::Nchw16c if rank == 4 && still => (16, x.shape[0] * x.shape[1].div_ceil(16)),
        Layout::RowMajor => (1, y.shape[..lead].iter().product()),
        _ => return Err(wrong()),
    };
    let input = (height, width);
    let sources = if still { Vec::new() } else { plane_sources((0..lead).map(|a| (x.shape[a], samples(a)))) };
    if x.dtype != DType::F32 {
        if x.dtype != y.dtype || !matches!(spec.mode, ResizeMode::Nearest(_)) {
            return Err(format!("no such resampling of {}", x.dtype));
        }
        let unit = unit * x.dtype.bits() / 8;
        let plane = |p: usize| sources.get(p).and_then(|s| s.first()).map_or(p, |s| s.0);
        let pixels = (0..planes).flat_map(|p| rows.iter().map(move |r| plane(p) * height + r.low)).flat_map(|row| {
            let line = &x.bytes[row * width * unit..][..width * unit];
            columns.iter().map(move |c| &line[c.low * unit..][..unit])
        });
        y.bytes.chunks_exact_mut(unit).zip(pixels).for_each(|(to, from)| to.copy_from_slice(from));
        return Ok(());
    }
    let (x, y) = (x.elements::<f32>()?, y.elements()?);
    if still {
        resize(cx.isa, cx.par, unit, planes, input, &rows, &columns, x, y);
        return Ok(());
    }
    let mut image = vec![0.0; rows.len() * columns.len()];
    for (to, sources) in y.chunks_exact_mut(image.len()).zip(&sources) {
        to.fill(0.0);
        for (plane, share) in sources {
            let from = &x[plane * height * width..];
            resize(cx.isa, cx.par, 1, 1, input, &rows, &columns, from, &mut image);
            to.iter_mut().zip(&image).for_each(|(to, v)| *to += share * v);
        }
    }
    Ok(())
}

/// For each plane of the result, which planes of the operand are summed up with which shares; from the extents and samples
/// of the axes before the last two.
fn plane_sources(axes: impl Iterator<Item = (usize, Vec<Sample>)>) -> Vec<Vec<(usize, f32)>> {
    axes.fold(vec![vec![(0, 1.0)]], |outer, (extent, samples)| {
        let inner = |sources: &Vec<(usize, f32)>, s: &Sample| {
            let ends = [(s.low, s.shares.0), (s.high, s.shares.1)].into_iter().filter(|e| e.1 != 0.0);
            ends.flat_map(|(at, share)| sources.iter().map(move |(p, w)| (p * extent + at, w * share))).collect()
        };
        outer.iter().flat_map(|sources| samples.iter().map(|s| inner(sources, s)).collect::<Vec<_>>()).collect()
    })
}

/// What output position `i` reads (ONNX Resize: the coordinate, then the mode).
fn sample(spec: &Resize, i: usize, from: usize, to: usize, given: Option<f32>) -> Sample {
    let (i, length, resized) = (i as f32, from as f32, to as f32);
    let scale = given.unwrap_or(resized / length);
    // The extent before rounding, which the formulas take where the model gives scales.
    let extent = given.map_or(resized, |s| s * length);
    let at = match spec.coordinate {
        Coordinate::HalfPixel => (i + 0.5) / scale - 0.5,
        Coordinate::HalfPixelSymmetric => {
            let adjustment = resized / extent;
            let offset = length / 2.0 * (1.0 - adjustment);
            offset + (i + 0.5) / scale - 0.5
        }
        Coordinate::PytorchHalfPixel => {
            if to > 1 {
                (i + 0.5) / scale - 0.5
            } else {
                0.0
            }
        }
        Coordinate::AlignCorners => {
            if extent != 1.0 {
                i * (length - 1.0) / (extent - 1.0)
            } else {
                0.0
            }
        }
        Coordinate::TfHalfPixelForNn => (i + 0.5) / scale,
        Coordinate::Asymmetric | Coordinate::CropAndResize => i / scale,
    };
    let last = (from - 1) as f32;
    match spec.mode {
        ResizeMode::Nearest(nearest) => {
            let at = nearest.of(f64::from(at));
            Sample::nearest(at.clamp(0.0, f64::from(last)) as usize)
        }
        _ => Sample::linear(at.clamp(0.0, last), from - 1),
    }
}
