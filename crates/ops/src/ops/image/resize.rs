//! Resize: resampling of axes by factors (`scales`) or to extents (`sizes`).

use super::resample::{Axis, Filter, resample};
use crate::elementwise::elements;
use crate::floats::{narrow, widen};
use crate::indexing::{OUTSIDE, around, by_axis, integers, strides};
use crate::{
    AttrDef, AttrKind, EvalCx, Lowered, OpDef, OpError, Param, TypeSet, Upgrade, UpgradeCx, normal_axis, operand,
};
use planc_kir::{Coordinate, Kernel, Nearest, ResizeMode};
use planc_tensor::{DType, Dim, Tensor, View};

/// The row of Resize.
pub const OP: OpDef = OpDef {
    name: "Resize",
    since: 10,
    types: &[
        ("T1", TypeSet::ALL),
        ("T2", TypeSet::FLOAT),
        ("tensor(float)", TypeSet::F32),
        ("tensor(int64)", TypeSet::I64),
    ],
    inputs: &[
        Param::req("X", "T1"),
        Param::opt("roi", "T2"),
        Param::opt("scales", "tensor(float)"),
        Param::opt("sizes", "tensor(int64)"),
    ],
    outputs: &[Param::req("Y", "T1")],
    attrs: &[
        AttrDef::str("mode", "nearest"),
        AttrDef::str("coordinate_transformation_mode", "half_pixel").since(11),
        AttrDef::float("cubic_coeff_a", -0.75).since(11),
        AttrDef::int("exclude_outside", 0).since(11),
        AttrDef::float("extrapolation_value", 0.0).since(11),
        AttrDef::str("nearest_mode", "round_prefer_floor").since(11),
        AttrDef::int("antialias", 0).since(18),
        AttrDef::optional("axes", AttrKind::Ints).since(18),
        AttrDef::str("keep_aspect_ratio_policy", "stretch").since(18),
    ],
    upgrades: &[Upgrade { to: 11, step: from_scales }],
    infer: |cx| {
        let dtype = cx.dtype(0)?;
        filter(cx.str("mode"), cx.str("nearest_mode"), cx.str("coordinate_transformation_mode"))?;
        let given = Given {
            scales: cx.constant(2).and_then(|t| elements::<f32>(t.view()).ok()?.into_owned().into()),
            sizes: cx.known(3),
            policy: cx.str("keep_aspect_ratio_policy"),
        };
        let shape = match cx.shape(0)? {
            Some(s) => {
                let axes = axes(cx.ints("axes"), s.len())?;
                let parts = given.resolve(s, &axes)?;
                let mut out = s.to_vec();
                for (i, axis) in axes.iter().enumerate() {
                    let extent = parts.as_ref().and_then(|p| p[i].0.clone());
                    out[*axis] = extent.unwrap_or_else(|| cx.fresh(0, *axis));
                }
                Some(out)
            }
            None => None,
        };
        cx.set_shape(0, dtype, shape);
        Ok(())
    },
    eval: Some(eval),
    lower: |cx| {
        let filter = filter(cx.str("mode"), cx.str("nearest_mode"), cx.str("coordinate_transformation_mode"));
        let (Ok((mode, coordinate)), Ok(Some(shape))) = (filter, cx.shape(0)) else { return Lowered::Reference };
        let scales = cx.constant(2).and_then(|t| elements::<f32>(t.view()).ok().map(|s| s.into_owned()));
        let given = Given { scales, sizes: cx.known(3), policy: cx.str("keep_aspect_ratio_policy") };
        let Ok(axes) = axes(cx.ints("axes"), shape.len()) else { return Lowered::Reference };
        let Ok(Some(parts)) = given.resolve(shape, &axes) else { return Lowered::Reference };
        if parts.iter().any(|(extent, _)| extent.is_none()) || cx.dtype(0).is_ok_and(|t| t.size().is_none()) {
            return Lowered::Reference;
        }
        let roi = match (coordinate, cx.constant(1).and_then(|t| widen(t.view()).ok())) {
            (Coordinate::CropAndResize, None) => return Lowered::Reference,
            (Coordinate::CropAndResize, Some(roi)) => roi.into_iter().map(|v| v as f32).collect(),
            _ => vec![],
        };
        let mut scales: Option<Vec<f32>> = parts.iter().map(|p| p.1).collect();
        // Axes that stay as they are need no resampling; a region of interest may still move them.
        let moves = |i: usize| {
            coordinate == Coordinate::CropAndResize || {
                let same = parts[i].0.as_ref() == Some(&shape[axes[i]]);
                !same || parts[i].1.is_some_and(|s| s != 1.0)
            }
        };
        let moved: Vec<usize> = (0..axes.len()).filter(|i| moves(*i)).collect();
        scales = scales.map(|s| moved.iter().map(|i| s[*i]).collect());
        let kernel = Kernel::Resize(planc_kir::Resize {
            axes: moved.iter().map(|i| axes[*i]).collect(),
            scales,
            mode: match mode {
                ResizeMode::Cubic { .. } => ResizeMode::Cubic { a: cx.float("cubic_coeff_a") },
                mode => mode,
            },
            coordinate,
            antialias: cx.flag("antialias"),
            exclude_outside: cx.flag("exclude_outside"),
            roi,
            extrapolation: cx.float("extrapolation_value"),
        });
        Lowered::kernel(kernel, 1)
    },
    ..OpDef::NEW
};

/// Makes operands `X, scales` of opset 10 those of opset 11, with the semantics they had.
///
/// Opset 10 does not say which element is nearest. As in onnxruntime, and in the test of that version, it is the one below
/// where an image grows and the one above where it shrinks; scales that do both, or that only a run knows, take the one below.
pub(super) fn from_scales(cx: &mut UpgradeCx<'_>) -> Result<(), OpError> {
    if cx.inputs.len() == 2 {
        let scales = cx.inputs[1].and_then(|v| elements::<f32>(cx.graph.constant(v)?.view()).ok());
        let shrinks = scales.is_some_and(|s| s.iter().all(|s| *s <= 1.0) && s.iter().any(|s| *s < 1.0));
        cx.inputs.insert(1, None);
        cx.attrs.set("coordinate_transformation_mode", "asymmetric");
        cx.attrs.set("nearest_mode", if shrinks { "ceil" } else { "floor" });
    }
    Ok(())
}

fn filter(mode: &str, nearest: &str, coordinate: &str) -> Result<(ResizeMode, Coordinate), OpError> {
    let wrong = |name: &str, value: &str| Err(OpError::attribute(format!("{name} {value:?} does not exist")));
    let nearest = match nearest {
        "round_prefer_floor" => Nearest::RoundPreferFloor,
        "round_prefer_ceil" => Nearest::RoundPreferCeil,
        "floor" => Nearest::Floor,
        "ceil" => Nearest::Ceil,
        other => return wrong("nearest_mode", other),
    };
    let mode = match mode {
        "nearest" => ResizeMode::Nearest(nearest),
        "linear" => ResizeMode::Linear,
        "cubic" => ResizeMode::Cubic { a: -0.75 },
        other => return wrong("mode", other),
    };
    let coordinate = match coordinate {
        "half_pixel" => Coordinate::HalfPixel,
        "half_pixel_symmetric" => Coordinate::HalfPixelSymmetric,
        "pytorch_half_pixel" => Coordinate::PytorchHalfPixel,
        "align_corners" => Coordinate::AlignCorners,
        "asymmetric" => Coordinate::Asymmetric,
        "tf_half_pixel_for_nn" => Coordinate::TfHalfPixelForNn,
        "tf_crop_and_resize" => Coordinate::CropAndResize,
        other => return wrong("coordinate_transformation_mode", other),
    };
    Ok((mode, coordinate))
}

/// The resized axes: `axes` made non-negative, or all.
fn axes(axes: Option<&[i64]>, rank: usize) -> Result<Vec<usize>, OpError> {
    let Some(axes) = axes else { return Ok((0..rank).collect()) };
    let all = axes.iter().map(|a| normal_axis(*a, rank)).collect::<Result<Vec<_>, _>>()?;
    if (1..all.len()).any(|i| all[..i].contains(&all[i])) {
        return Err(OpError::attribute("an axis is there twice"));
    }
    Ok(all)
}

/// What says how far to resize, as far as it is known. An empty tensor counts as not given.
struct Given<'a> {
    scales: Option<Vec<f32>>,
    sizes: Option<Vec<Dim>>,
    policy: &'a str,
}

/// Per axis the new extent, if it can be told, and the factor that enters the coordinates where it is not their ratio.
type Parts = Vec<(Option<Dim>, Option<f32>)>;

impl Given<'_> {
    fn resolve(&self, shape: &[Dim], axes: &[usize]) -> Result<Option<Parts>, OpError> {
        let count = |n: usize| match n == axes.len() {
            true => Ok(()),
            false => Err(OpError::shape(format!("{n} factors or sizes for {} axes", axes.len()))),
        };
        if let Some(scales) = self.scales.as_ref().filter(|s| !s.is_empty() || axes.is_empty()) {
            count(scales.len())?;
            if scales.iter().any(|s| !s.is_finite() || *s <= 0.0) {
                return Err(OpError::value("a factor is not positive"));
            }
            return Ok(Some(scales.iter().zip(axes).map(|(s, a)| (scaled(&shape[*a], *s), Some(*s))).collect()));
        }
        let Some(sizes) = self.sizes.as_ref().filter(|s| !s.is_empty() || axes.is_empty()) else { return Ok(None) };
        count(sizes.len())?;
        if sizes.iter().any(|s| s.as_const().is_some_and(|s| s < 0)) {
            return Err(OpError::value("a size is negative"));
        }
        if self.policy == "stretch" {
            return Ok(Some(sizes.iter().map(|s| (Some(s.clone()), None)).collect()));
        }
        let ratio = |(size, axis): (&Dim, &usize)| {
            Some(size.as_const()? as f64 / shape[*axis].as_const().filter(|d| *d > 0)? as f64)
        };
        let Some(ratios) = sizes.iter().zip(axes).map(ratio).collect::<Option<Vec<f64>>>() else {
            return Ok(Some(vec![(None, None); axes.len()]));
        };
        let scale = match self.policy {
            "not_larger" => ratios.into_iter().fold(f64::INFINITY, f64::min),
            "not_smaller" => ratios.into_iter().fold(0.0, f64::max),
            other => {
                return Err(OpError::attribute(format!("keep_aspect_ratio_policy {other:?} does not exist")));
            }
        };
        let extent = |axis: &usize| {
            let n = shape[*axis].as_const().unwrap_or(0) as f64;
            (Some(Dim::from((n * scale + 0.5).floor() as i64)), Some(scale as f32))
        };
        Ok(Some(axes.iter().map(extent).collect()))
    }
}

/// `floor(extent * scale)`, in f32 as ONNX's shape inference; of a symbolic extent where the factor is a short binary
/// fraction.
fn scaled(extent: &Dim, scale: f32) -> Option<Dim> {
    if let Some(n) = extent.as_const() {
        return Some(Dim::from((n as f32 * scale).floor() as i64));
    }
    let numerator = f64::from(scale) * 256.0;
    if numerator.fract() != 0.0 || numerator > 1e9 {
        return None;
    }
    let (mut numerator, mut denominator) = (numerator as i64, 256i64);
    while numerator % 2 == 0 && denominator > 1 {
        (numerator, denominator) = (numerator / 2, denominator / 2);
    }
    Some((extent.clone() * Dim::from(numerator)).floor_div(&Dim::from(denominator)))
}

/// `narrow`, but integers are rounded to even.
fn rounded(dtype: DType, shape: &[usize], mut values: Vec<f64>) -> Result<Tensor, OpError> {
    if !dtype.is_float() {
        values.iter_mut().for_each(|v| *v = v.round_ties_even());
    }
    narrow(dtype, shape, values)
}

fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>]) -> Result<Vec<Tensor>, OpError> {
    let x = operand(inputs, 0)?;
    let (mode, coordinate) = filter(cx.str("mode"), cx.str("nearest_mode"), cx.str("coordinate_transformation_mode"))?;
    let axes = axes(cx.ints("axes"), x.rank())?;
    let given_at = |i: usize| inputs.get(i).copied().flatten();
    let dims = |v: Vec<i64>| v.into_iter().map(Dim::from).collect();
    let given = Given {
        scales: given_at(2).map(elements::<f32>).transpose()?.map(|s| s.into_owned()),
        sizes: given_at(3).map(integers).transpose()?.map(dims),
        policy: cx.str("keep_aspect_ratio_policy"),
    };
    let shape: Vec<Dim> = x.shape().iter().map(|d| Dim::from(*d)).collect();
    let parts = given.resolve(&shape, &axes)?.ok_or_else(|| OpError::arity("needs scales or sizes"))?;
    let roi = match (coordinate, given_at(1)) {
        (Coordinate::CropAndResize, Some(roi)) => widen(roi)?,
        (Coordinate::CropAndResize, None) => return Err(OpError::arity("operand 1 (roi) is missing")),
        _ => [vec![0.0; axes.len()], vec![1.0; axes.len()]].concat(),
    };
    if roi.len() != 2 * axes.len() {
        return Err(OpError::shape(format!("roi has {} elements for {} axes", roi.len(), axes.len())));
    }
    let mut plan = Vec::with_capacity(axes.len());
    let mut result = x.shape().to_vec();
    for (i, ((extent, scale), axis)) in parts.into_iter().zip(&axes).enumerate() {
        let from = x.shape()[*axis];
        let to = extent.and_then(|d| d.as_usize()).ok_or_else(|| OpError::limit("an extent is too large"))?;
        let scale = scale.map_or(to as f64 / from as f64, f64::from);
        result[*axis] = to;
        plan.push((*axis, Axis { from, to, scale, roi: [roi[i], roi[axes.len() + i]] }));
    }
    cx.reserve(x.dtype(), &result)?;
    let mode =
        if let ResizeMode::Cubic { .. } = mode { ResizeMode::Cubic { a: cx.float("cubic_coeff_a") } } else { mode };
    let filter =
        Filter { mode, coordinate, antialias: cx.flag("antialias"), exclude_outside: cx.flag("exclude_outside") };
    if x.is_empty() && !result.contains(&0) {
        return Err(OpError::value("an empty tensor cannot be resized"));
    }
    let outside = f64::from(cx.float("extrapolation_value"));
    if let ResizeMode::Nearest(nearest) = mode {
        if filter.antialias {
            return Err(OpError::attribute("antialias needs mode linear or cubic"));
        }
        let strides = strides(x.shape());
        let moved = |(axis, p): &&(usize, Axis), a: usize| *axis == a && !p.is_identity(coordinate);
        let by_number = |a: usize| plan.iter().find(|p| moved(p, a)).map(|(_, p)| p);
        let at = |a: usize, i: usize| match by_number(a) {
            Some(p) => p.nearest(&filter, nearest, i).map_or(OUTSIDE, |s| s * strides[a]),
            None => i * strides[a],
        };
        let fill = (coordinate == Coordinate::CropAndResize).then(|| rounded(x.dtype(), &[1], vec![outside]));
        let fill = fill.transpose()?;
        return Ok(vec![by_axis(cx, x, result, fill.as_ref().map(Tensor::view), at)?]);
    }
    if result.contains(&0) {
        return Ok(vec![Tensor::zeros(x.dtype(), result)?]);
    }
    let (mut values, mut shape) = (widen(x)?, x.shape().to_vec());
    for (axis, p) in &plan {
        if p.is_identity(coordinate) {
            continue;
        }
        let (outer, _, inner) = around(&shape, *axis)?;
        shape[*axis] = p.to;
        cx.reserve(DType::F64, &shape)?;
        values = resample(&values, outer, inner, p, &filter, outside)?;
    }
    Ok(vec![rounded(x.dtype(), &result, values)?])
}
