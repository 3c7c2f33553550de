//! RoiAlign: regions of interest pooled to a fixed size from bilinear samples, without rounding (He et al. 2017).

use crate::floats::{narrow, widen};
use crate::indexing::{index, integers};
use crate::{AttrDef, OpDef, OpError, Param, TypeSet, Upgrade, known, operand};
use planc_tensor::{DType, Dim};

/// The row of RoiAlign.
pub const OP: OpDef = OpDef {
    name: "RoiAlign",
    since: 10,
    types: &[("T1", TypeSet::FLOAT), ("T2", TypeSet::I64)],
    inputs: &[Param::req("X", "T1"), Param::req("rois", "T1"), Param::req("batch_indices", "T2")],
    outputs: &[Param::req("Y", "T1")],
    attrs: &[
        AttrDef::str("coordinate_transformation_mode", "half_pixel").since(16),
        AttrDef::str("mode", "avg"),
        AttrDef::int("output_height", 1),
        AttrDef::int("output_width", 1),
        AttrDef::int("sampling_ratio", 0),
        AttrDef::float("spatial_scale", 1.0),
    ],
    upgrades: &[Upgrade {
        to: 16,
        step: |cx| {
            cx.attrs.set("coordinate_transformation_mode", "output_half_pixel");
            Ok(())
        },
    }],
    infer: |cx| {
        let dtype = cx.dtype(0)?;
        flag(cx.str("mode"), "max", "avg")?;
        flag(cx.str("coordinate_transformation_mode"), "half_pixel", "output_half_pixel")?;
        let channels = match cx.shape(0)? {
            Some([_, c, _, _]) => c.clone(),
            Some(s) => return Err(OpError::shape(format!("{} is not of rank 4", known::text(s)))),
            None => cx.fresh(0, 1),
        };
        let rois = match (cx.shape(1)?, cx.shape(2)?) {
            (Some([r, four]), Some([b])) => {
                known::same(four, &Dim::from(4i64))?;
                known::same(r, b)?
            }
            (Some([n, _]), None) | (None, Some([n])) => n.clone(),
            (None, None) => cx.fresh(0, 0),
            _ => return Err(OpError::shape("rois and batch_indices are not of rank 2 and 1")),
        };
        let extent = |name: &str| match cx.int(name) {
            n if n > 0 => Ok(Dim::from(n)),
            n => Err(OpError::attribute(format!("{name} is {n}"))),
        };
        cx.set_tensor(0, dtype, vec![rois, channels, extent("output_height")?, extent("output_width")?]);
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let (x, rois) = (operand(inputs, 0)?, operand(inputs, 1)?);
        let batches = integers(operand(inputs, 2)?)?;
        let &[n, channels, height, width] = x.shape() else { return Err(OpError::shape("X is not of rank 4")) };
        if rois.shape() != [batches.len(), 4] {
            return Err(OpError::shape("rois and batch_indices do not fit"));
        }
        let maximum = flag(cx.str("mode"), "max", "avg")?;
        let half_pixel = flag(cx.str("coordinate_transformation_mode"), "half_pixel", "output_half_pixel")?;
        let extent =
            |name: &str| usize::try_from(cx.int(name)).map_err(|_| OpError::attribute(format!("{name} is negative")));
        let (oh, ow) = (extent("output_height")?, extent("output_width")?);
        let shape = [batches.len(), channels, oh, ow];
        let mut out = vec![0.0; cx.reserve(DType::F64, &shape)?];
        if out.is_empty() {
            return Ok(vec![narrow(x.dtype(), &shape, out)?]);
        }
        if height == 0 || width == 0 {
            return Err(OpError::value("an empty image has no regions"));
        }
        let (data, boxes) = (widen(x)?, widen(rois)?);
        // Positions in f32, as runtimes compute them: the number of samples and what counts as outside depend on it.
        let (scale, offset) = (cx.float("spatial_scale"), if half_pixel { 0.5f32 } else { 0.0 });
        for (r, roi) in boxes.chunks(4).enumerate() {
            let batch = index(batches[r], n)?;
            let [x1, y1, x2, y2] = [0, 1, 2, 3].map(|i| roi[i] as f32 * scale - offset);
            let size = |d: f32| if half_pixel { d } else { d.max(1.0) };
            let (bin_h, bin_w) = (size(y2 - y1) / oh as f32, size(x2 - x1) / ow as f32);
            let per_bin = |bin: f32| match cx.int("sampling_ratio") {
                ratio if ratio > 0 => ratio as usize,
                _ => bin.ceil() as usize,
            };
            let (grid_h, grid_w) = (per_bin(bin_h), per_bin(bin_w));
            // As many samples as a region of the whole image has, with a wide margin, are enough for any sane region.
            if grid_h.saturating_mul(grid_w) > 1 << 20 {
                return Err(OpError::value(format!("region {r} needs {grid_h} x {grid_w} samples per element")));
            }
            for (ph, pw) in (0..oh).flat_map(|h| (0..ow).map(move |w| (h, w))) {
                let mut samples = Vec::with_capacity(grid_h * grid_w);
                for (iy, ix) in (0..grid_h).flat_map(|y| (0..grid_w).map(move |x| (y, x))) {
                    let at = |start: f32, p: usize, bin: f32, i: usize, grid: usize| {
                        f64::from(start + p as f32 * bin + (i as f32 + 0.5) * bin / grid as f32)
                    };
                    let (y, x) = (at(y1, ph, bin_h, iy, grid_h), at(x1, pw, bin_w, ix, grid_w));
                    samples.push(corners(y, x, height, width));
                }
                for c in 0..channels {
                    let image = &data[(batch * channels + c) * height * width..][..height * width];
                    let parts = samples.iter().map(|s| s.map(|(at, w)| image[at] * w));
                    out[((r * channels + c) * oh + ph) * ow + pw] = if maximum {
                        // ONNX takes the maximum over the weighted corners, not over the interpolated samples.
                        parts.flatten().reduce(f64::max).unwrap_or(0.0)
                    } else {
                        parts.flatten().sum::<f64>() / samples.len().max(1) as f64
                    };
                }
            }
        }
        Ok(vec![narrow(x.dtype(), &shape, out)?])
    }),
    ..OpDef::NEW
};

/// Whether `value` is `yes`; it must be that or `no`.
fn flag(value: &str, yes: &str, no: &str) -> Result<bool, OpError> {
    if value != yes && value != no {
        return Err(OpError::attribute(format!("{value:?} is not {yes} or {no}")));
    }
    Ok(value == yes)
}

/// The four pixels around a position and their weights; all zero more than one pixel outside.
fn corners(y: f64, x: f64, height: usize, width: usize) -> [(usize, f64); 4] {
    let inside = (-1.0..=height as f64).contains(&y) && (-1.0..=width as f64).contains(&x);
    if !inside {
        return [(0, 0.0); 4];
    }
    let around = |v: f64, n: usize| {
        let v = v.max(0.0);
        let low = v as usize;
        if low + 1 >= n { (n - 1, n - 1, 0.0) } else { (low, low + 1, v - low as f64) }
    };
    let ((y0, y1, ly), (x0, x1, lx)) = (around(y, height), around(x, width));
    [
        (y0 * width + x0, (1.0 - ly) * (1.0 - lx)),
        (y0 * width + x1, (1.0 - ly) * lx),
        (y1 * width + x0, ly * (1.0 - lx)),
        (y1 * width + x1, ly * lx),
    ]
}
