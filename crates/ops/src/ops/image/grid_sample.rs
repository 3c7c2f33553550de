//! GridSample: an image of any spatial rank sampled at the positions that a grid holds, in `-1..1` per axis, last axis
//! first.

use crate::floats::{by_parts, narrow, widen};
use crate::{AttrDef, EvalCx, OpDef, OpError, Param, TypeSet, Upgrade, known, operand};
use planc_tensor::{DType, Tensor, View, contiguous_strides, element_count};

/// The row of GridSample.
pub const OP: OpDef = OpDef {
    name: "GridSample",
    since: 16,
    types: &[("T1", TypeSet::NUMERIC.or(TypeSet::BOOL).or(TypeSet::COMPLEX)), ("T2", TypeSet::FLOAT)],
    inputs: &[Param::req("X", "T1"), Param::req("grid", "T2")],
    outputs: &[Param::req("Y", "T1")],
    attrs: &[AttrDef::int("align_corners", 0), AttrDef::str("mode", "linear"), AttrDef::str("padding_mode", "zeros")],
    upgrades: &[Upgrade {
        to: 20,
        step: |cx| {
            match cx.attrs.str("mode") {
                Some("bilinear") => cx.attrs.set("mode", "linear"),
                Some("bicubic") => cx.attrs.set("mode", "cubic"),
                _ => {}
            }
            Ok(())
        },
    }],
    infer: |cx| {
        let dtype = cx.dtype(0)?;
        Sampler::of(cx.str("mode"), cx.str("padding_mode"), cx.flag("align_corners"))?;
        let shape = match (cx.shape(0)?, cx.shape(1)?) {
            (Some(x), Some(g)) => {
                let spatial = x.len().saturating_sub(2);
                let coordinates = g.last().and_then(|d| d.as_usize());
                if spatial == 0 || g.len() != x.len() || coordinates.is_some_and(|c| c != spatial) {
                    return Err(OpError::shape(format!("grid {} does not sample {}", known::text(g), known::text(x))));
                }
                let mut shape = vec![known::same(&x[0], &g[0])?, x[1].clone()];
                shape.extend_from_slice(&g[1..g.len() - 1]);
                Some(shape)
            }
            _ => None,
        };
        cx.set_shape(0, dtype, shape);
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let grid = operand(inputs, 1)?;
        Ok(vec![by_parts(operand(inputs, 0)?, |x| sample(cx, x, grid))?])
    }),
    ..OpDef::NEW
};

fn sample(cx: &EvalCx<'_>, x: View<'_>, grid: View<'_>) -> Result<Tensor, OpError> {
    let sampler = Sampler::of(cx.str("mode"), cx.str("padding_mode"), cx.flag("align_corners"))?;
    let spatial = x.rank().saturating_sub(2);
    let fits = grid.rank() == x.rank() && grid.shape().last() == Some(&spatial) && grid.shape()[0] == x.shape()[0];
    if spatial == 0 || !fits {
        return Err(OpError::shape(format!("grid {:?} does not sample {:?}", grid.shape(), x.shape())));
    }
    let (batch, channels, extents) = (x.shape()[0], x.shape()[1], &x.shape()[2..]);
    let shape = [&x.shape()[..2], &grid.shape()[1..=spatial]].concat();
    let count = cx.reserve(DType::F64, &shape)?;
    let mut out = vec![0.0; count];
    if count == 0 {
        return narrow(x.dtype(), &shape, out);
    }
    if x.is_empty() {
        return Err(OpError::value("an empty image cannot be sampled"));
    }
    let (data, points) = (widen(x)?, widen(grid)?);
    let (strides, pixels) = (contiguous_strides(extents), element_count(extents).unwrap_or(0));
    let samples = points.len() / spatial / batch;
    let single = grid.dtype() == DType::F32;
    let mut taps: Vec<(usize, f64)> = vec![];
    for (s, point) in points.chunks(spatial).enumerate() {
        taps.clear();
        taps.push((0, 1.0));
        for (axis, extent) in extents.iter().enumerate() {
            let line = sampler.taps(point[spatial - 1 - axis], *extent, single);
            let step = strides[axis];
            let pairs = taps.iter().flat_map(|t| line.iter().map(move |l| (t, l)));
            taps = pairs.map(|((at, w), (i, v))| (at + i * step, w * v)).collect();
        }
        let (n, s) = (s / samples, s % samples);
        for c in n * channels..(n + 1) * channels {
            let image = &data[c * pixels..][..pixels];
            out[c * samples + s] = taps.iter().map(|(at, w)| image[*at] * w).sum();
        }
    }
    narrow(x.dtype(), &shape, out)
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Nearest,
    Linear,
    Cubic,
}

#[derive(Clone, Copy, PartialEq)]
enum Padding {
    Zeros,
    Border,
    Reflection,
}

struct Sampler {
    mode: Mode,
    padding: Padding,
    align_corners: bool,
}

impl Sampler {
    fn of(mode: &str, padding: &str, align_corners: bool) -> Result<Sampler, OpError> {
        let mode = match mode {
            "nearest" => Mode::Nearest,
            "linear" => Mode::Linear,
            "cubic" => Mode::Cubic,
            _ => return Err(OpError::attribute(format!("mode {mode:?} is not nearest, linear or cubic"))),
        };
        let padding = match padding {
            "zeros" => Padding::Zeros,
            "border" => Padding::Border,
            "reflection" => Padding::Reflection,
            _ => return Err(OpError::attribute(format!("padding_mode {padding:?} does not exist"))),
        };
        Ok(Sampler { mode, padding, align_corners })
    }

    /// The elements of an axis that make up coordinate `v`, with weights; elements outside that count as zeros are left
    /// out. `single`: positions are rounded to f32, as runtimes compute them for f32 grids.
    fn taps(&self, v: f64, extent: usize, single: bool) -> Vec<(usize, f64)> {
        let n = extent as f64;
        let round = |x: f64| if single { f64::from(x as f32) } else { x };
        let mut x = match self.align_corners {
            true => round(round(round(v + 1.0) / 2.0) * (n - 1.0)),
            false => round(round(round(round(v + 1.0) * n) - 1.0) / 2.0),
        };
        if self.mode == Mode::Nearest {
            x = x.round_ties_even();
        }
        let (low, high) = if self.align_corners { (0.0, n - 1.0) } else { (-0.5, n - 0.5) };
        if x < low || x > high {
            x = match self.padding {
                Padding::Zeros => x,
                // The taps of a cubic are clamped one by one.
                Padding::Border if self.mode == Mode::Cubic => x,
                Padding::Border => x.clamp(0.0, n - 1.0),
                Padding::Reflection => reflect(x, low, high),
            };
        }
        let x0 = x.floor();
        let t = x - x0;
        let a = -0.75;
        let near = |d: f64| ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0;
        let far = |d: f64| ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a;
        let weights: &[(f64, f64)] = match self.mode {
            Mode::Nearest => &[(0.0, 1.0)],
            Mode::Linear => &[(0.0, 1.0 - t), (1.0, t)],
            Mode::Cubic => &[(-1.0, far(t + 1.0)), (0.0, near(t)), (1.0, near(1.0 - t)), (2.0, far(2.0 - t))],
        };
        let pixel = |i: f64| {
            let inside = (0.0..n).contains(&i);
            match self.padding {
                _ if inside => Some(i as usize),
                Padding::Zeros => None,
                Padding::Border => Some(i.clamp(0.0, n - 1.0) as usize),
                Padding::Reflection => Some((reflect(i, low, high) as usize).min(extent - 1)),
            }
        };
        weights.iter().filter_map(|(d, w)| Some((pixel(x0 + d)?, *w))).collect()
    }
}

/// `x` mirrored at `low` and `high` until it lies between.
fn reflect(x: f64, low: f64, high: f64) -> f64 {
    let range = high - low;
    if range <= 0.0 || !x.is_finite() {
        return low.max(0.0);
    }
    let period = (x - low).rem_euclid(2.0 * range);
    low + if period <= range { period } else { 2.0 * range - period }
}
