//! CropAndResize of com.microsoft: regions of images resized to one size, corners aligned.

use super::resample::{Axis, Filter, resample};
use crate::floats::{narrow, widen};
use crate::indexing::{index, integers};
use crate::{AttrDef, OpDef, OpError, Param, TypeSet, known, operand};
use planc_kir::{Coordinate, ResizeMode};
use planc_tensor::{DType, Dim};

/// The row of CropAndResize.
pub const OP: OpDef = OpDef {
    name: "CropAndResize",
    domain: "com.microsoft",
    types: &[("T1", TypeSet::FLOAT), ("T2", TypeSet::of(&[DType::I32]))],
    inputs: &[
        Param::req("X", "T1"),
        Param::req("rois", "T1"),
        Param::req("batch_indices", "T2"),
        Param::req("crop_size", "T2"),
    ],
    outputs: &[Param::req("Y", "T1")],
    attrs: &[AttrDef::float("extrapolation_value", 0.0), AttrDef::str("mode", "bilinear")],
    infer: |cx| {
        let dtype = cx.dtype(0)?;
        nearest(cx.str("mode"))?;
        let channels = match cx.shape(0)? {
            Some([_, c, _, _]) => c.clone(),
            Some(s) => return Err(OpError::shape(format!("{} is not of rank 4", known::text(s)))),
            None => cx.fresh(0, 1),
        };
        let rois = match cx.shape(2)? {
            Some([n]) => n.clone(),
            Some(s) => return Err(OpError::shape(format!("batch_indices {} are not of rank 1", known::text(s)))),
            None => cx.fresh(0, 0),
        };
        let size = match cx.known(3) {
            Some(size) if size.len() == 2 => size,
            Some(_) => return Err(OpError::shape("crop_size has not two elements")),
            None => vec![cx.fresh(0, 2), cx.fresh(0, 3)],
        };
        cx.set_tensor(0, dtype, [vec![rois, channels], size].concat());
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let (x, rois) = (operand(inputs, 0)?, operand(inputs, 1)?);
        let batches = integers(operand(inputs, 2)?)?;
        let size: Vec<Dim> = integers(operand(inputs, 3)?)?.into_iter().map(Dim::from).collect();
        let size: Vec<usize> = size.iter().filter_map(Dim::as_usize).collect();
        let (&[n, channels, height, width], &[oh, ow]) = (x.shape(), size.as_slice()) else {
            return Err(OpError::shape("X is not of rank 4 or crop_size not two extents"));
        };
        if rois.shape() != [batches.len(), 4] {
            return Err(OpError::shape("rois and batch_indices do not fit"));
        }
        let shape = [batches.len(), channels, oh, ow];
        let mut out = Vec::with_capacity(cx.reserve(DType::F64, &shape)?);
        let (data, boxes) = (widen(x)?, widen(rois)?);
        let nearest = nearest(cx.str("mode"))?;
        let outside = f64::from(cx.float("extrapolation_value"));
        let filter = Filter {
            mode: ResizeMode::Linear,
            coordinate: Coordinate::CropAndResize,
            antialias: false,
            exclude_outside: false,
        };
        for (batch, roi) in batches.into_iter().zip(boxes.chunks(4)) {
            let pixels = height * width;
            let image = &data[index(batch, n)? * channels * pixels..][..channels * pixels];
            // The scale only tells an extent of 1, whose position is the middle of the region.
            let axis = |from: usize, to: usize, i: usize| Axis {
                from,
                to,
                scale: to as f64 / from as f64,
                roi: [roi[i], roi[i + 2]],
            };
            let (rows, columns) = (axis(height, oh, 0), axis(width, ow, 1));
            if nearest {
                let at = |a: &Axis, i: usize| a.position(filter.coordinate, i).map(|p| p.round() as usize);
                for (c, y, x) in (0..channels).flat_map(|c| (0..oh).flat_map(move |y| (0..ow).map(move |x| (c, y, x))))
                {
                    let pixel = at(&rows, y).zip(at(&columns, x));
                    out.push(pixel.map_or(outside, |(y, x)| image[c * pixels + y * width + x]));
                }
            } else if channels * oh * ow > 0 {
                let tall = resample(image, channels, width, &rows, &filter, outside)?;
                out.extend(resample(&tall, channels * oh, 1, &columns, &filter, outside)?);
            }
        }
        Ok(vec![narrow(x.dtype(), &shape, out)?])
    }),
    ..OpDef::NEW
};

fn nearest(mode: &str) -> Result<bool, OpError> {
    match mode {
        "bilinear" => Ok(false),
        "nearest" => Ok(true),
        _ => Err(OpError::attribute(format!("mode {mode:?} is not bilinear or nearest"))),
    }
}
