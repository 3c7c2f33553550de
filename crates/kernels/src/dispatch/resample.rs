//! Resampling of the last two axes.

use super::{Cx, Operand, Output};
use crate::resize::{Sample, resize};
use planc_kir::{Coordinate, Nearest, Resize, ResizeMode};
use planc_tensor::{DType, Layout};

/// Whether [`run`] computes it: nearest or linear, over axes 2 and 3 at most.
pub(super) fn supports(spec: &Resize) -> bool {
    let mode = matches!(spec.mode, ResizeMode::Nearest(_) | ResizeMode::Linear);
    mode && !spec.antialias && spec.coordinate != Coordinate::CropAndResize
}

/// `[x] -> [out]`.
pub(super) fn run(cx: &Cx<'_>, spec: &Resize, x: Operand<'_>, y: &mut Output<'_>) -> Result<(), String> {
    let rank = x.shape.len();
    let wrong = || format!("no resampling of {:?} to {:?}", x.shape, y.shape);
    if rank < 3 || y.shape.len() != rank || x.shape.contains(&0) {
        return if y.bytes.is_empty() { Ok(()) } else { Err(wrong()) };
    }
    let lead = rank - 2;
    if x.shape[..lead] != y.shape[..lead] {
        return Err(wrong());
    }
    let samples = |axis: usize| -> Vec<Sample> {
        let (from, to) = (x.shape[axis], y.shape[axis]);
        let listed = spec.axes.iter().position(|a| *a == axis);
        let given = listed.and_then(|i| spec.scales.as_ref()?.get(i).copied());
        (0..to).map(|i| sample(spec, i, from, to, given)).collect()
    };
    let (rows, columns) = (samples(lead), samples(lead + 1));
    let (unit, planes) = match x.layout {
        Layout::Nchw16c if rank == 4 => (16, x.shape[0] * x.shape[1].div_ceil(16)),
        Layout::RowMajor => (1, x.shape[..lead].iter().product()),
        _ => return Err(wrong()),
    };
    let input = (x.shape[lead], x.shape[lead + 1]);
    if x.dtype != DType::F32 {
        if x.dtype != y.dtype || !matches!(spec.mode, ResizeMode::Nearest(_)) {
            return Err(format!("no such resampling of {}", x.dtype));
        }
        let unit = unit * x.dtype.bits() / 8;
        let pixels = (0..planes).flat_map(|p| rows.iter().map(move |r| p * input.0 + r.low)).flat_map(|row| {
            let line = &x.bytes[row * input.1 * unit..][..input.1 * unit];
            columns.iter().map(move |c| &line[c.low * unit..][..unit])
        });
        y.bytes.chunks_exact_mut(unit).zip(pixels).for_each(|(to, from)| to.copy_from_slice(from));
        return Ok(());
    }
    resize(cx.isa, cx.par, unit, planes, input, &rows, &columns, x.elements()?, y.elements()?);
    Ok(())
}

/// What output position `i` reads (ONNX Resize: the coordinate, then the mode).
fn sample(spec: &Resize, i: usize, from: usize, to: usize, given: Option<f32>) -> Sample {
    let (i, length, resized) = (i as f32, from as f32, to as f32);
    let scale = given.unwrap_or(resized / length);
    let at = match spec.coordinate {
        Coordinate::HalfPixel => (i + 0.5) / scale - 0.5,
        Coordinate::HalfPixelSymmetric => {
            let adjustment = resized / (scale * length);
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
            if to > 1 {
                i * (length - 1.0) / (resized - 1.0)
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
            let at = match nearest {
                Nearest::RoundPreferFloor => (at - 0.5).ceil(),
                Nearest::RoundPreferCeil => (at + 0.5).floor(),
                Nearest::Floor => at.floor(),
                Nearest::Ceil => at.ceil(),
            };
            Sample::nearest(at.clamp(0.0, last) as usize)
        }
        _ => Sample::linear(at.clamp(0.0, last), from - 1),
    }
}
