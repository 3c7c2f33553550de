//! MaxRoiPool: the maxima of a grid of bins over each region of interest, with bounds rounded to pixels
//! (Girshick 2015).

use crate::floats::{narrow, widen};
use crate::indexing::index;
use crate::{AttrDef, AttrKind, OpDef, OpError, Param, TypeSet, known, operand};
use planc_tensor::{DType, Dim};

/// The row of MaxRoiPool.
pub const OP: OpDef = OpDef {
    name: "MaxRoiPool",
    types: &[("T", TypeSet::FLOAT)],
    inputs: &[Param::req("X", "T"), Param::req("rois", "T")],
    outputs: &[Param::req("Y", "T")],
    attrs: &[AttrDef::required("pooled_shape", AttrKind::Ints), AttrDef::float("spatial_scale", 1.0)],
    infer: |cx| {
        let dtype = cx.dtype(0)?;
        let (h, w) = pooled(cx.ints("pooled_shape"))?;
        let channels = match cx.shape(0)? {
            Some([_, c, _, _]) => c.clone(),
            Some(s) => return Err(OpError::shape(format!("{} is not of rank 4", known::text(s)))),
            None => cx.fresh(0, 1),
        };
        let rois = match cx.shape(1)? {
            Some([r, five]) => {
                known::same(five, &Dim::from(5i64))?;
                r.clone()
            }
            Some(s) => return Err(OpError::shape(format!("{} is not of rank 2", known::text(s)))),
            None => cx.fresh(0, 0),
        };
        cx.set_tensor(0, dtype, vec![rois, channels, Dim::from(h), Dim::from(w)]);
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let (x, rois) = (operand(inputs, 0)?, operand(inputs, 1)?);
        let (oh, ow) = pooled(cx.ints("pooled_shape"))?;
        let (&[n, channels, height, width], &[count, 5]) = (x.shape(), rois.shape()) else {
            return Err(OpError::shape("X is not of rank 4 or rois not [n, 5]"));
        };
        let shape = [count, channels, oh, ow];
        let mut out = vec![0.0; cx.reserve(DType::F64, &shape)?];
        let (data, boxes) = (widen(x)?, widen(rois)?);
        let scale = f64::from(cx.float("spatial_scale"));
        if out.is_empty() {
            return Ok(vec![narrow(x.dtype(), &shape, out)?]);
        }
        for (r, roi) in boxes.chunks(5).enumerate() {
            let batch = index(roi[0] as i64, n)?;
            let [x1, y1, x2, y2] = [1, 2, 3, 4].map(|i| (roi[i] * scale).round());
            let (bin_h, bin_w) = ((y2 - y1 + 1.0).max(1.0) / oh as f64, (x2 - x1 + 1.0).max(1.0) / ow as f64);
            let range = |start: f64, p: usize, bin: f64, n: usize| {
                let clamp = |v: f64| (v + start).clamp(0.0, n as f64) as usize;
                clamp((p as f64 * bin).floor())..clamp(((p + 1) as f64 * bin).ceil())
            };
            for (c, ph, pw) in (0..channels).flat_map(|c| (0..oh).flat_map(move |h| (0..ow).map(move |w| (c, h, w)))) {
                let columns = range(x1, pw, bin_w, width);
                let rows = range(y1, ph, bin_h, height);
                let at = |y: usize, x: usize| data[((batch * channels + c) * height + y) * width + x];
                let all = rows.flat_map(|y| columns.clone().map(move |x| (y, x)));
                out[((r * channels + c) * oh + ph) * ow + pw] =
                    all.map(|(y, x)| at(y, x)).reduce(f64::max).unwrap_or(0.0);
            }
        }
        Ok(vec![narrow(x.dtype(), &shape, out)?])
    }),
    ..OpDef::NEW
};

fn pooled(shape: Option<&[i64]>) -> Result<(usize, usize), OpError> {
    match shape {
        Some(&[h, w]) if (1..1 << 24).contains(&h) && (1..1 << 24).contains(&w) => Ok((h as usize, w as usize)),
        other => Err(OpError::attribute(format!("pooled_shape {other:?} is not two extents"))),
    }
}
