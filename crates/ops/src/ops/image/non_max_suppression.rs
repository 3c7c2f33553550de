//! NonMaxSuppression: per class the boxes by falling score, without those that overlap a better one too much.

use crate::floats::widen;
use crate::indexing::integers;
use crate::{AttrDef, OpDef, OpError, Param, TypeSet, known, operand};
use planc_tensor::{DType, Dim, Tensor, View};
use std::collections::BTreeMap;

/// The row of NonMaxSuppression.
pub const OP: OpDef = OpDef {
    name: "NonMaxSuppression",
    since: 10,
    types: &[("tensor(float)", TypeSet::F32), ("tensor(int64)", TypeSet::I64)],
    inputs: &[
        Param::req("boxes", "tensor(float)"),
        Param::req("scores", "tensor(float)"),
        Param::opt("max_output_boxes_per_class", "tensor(int64)"),
        Param::opt("iou_threshold", "tensor(float)"),
        Param::opt("score_threshold", "tensor(float)"),
    ],
    outputs: &[Param::req("selected_indices", "tensor(int64)")],
    attrs: &[AttrDef::int("center_point_box", 0)],
    infer: |cx| {
        if let Some(boxes) = cx.shape(0)? {
            let [batch, count, four] = boxes else {
                return Err(OpError::shape(format!("boxes {} are not of rank 3", known::text(boxes))));
            };
            known::same(four, &Dim::from(4i64))?;
            if let Some(scores) = cx.shape(1)? {
                let want = [batch.clone(), Dim::from(0i64), count.clone()];
                known::same_shape(scores, &want, &[1])?;
            }
        }
        let selected = cx.fresh(0, 0);
        cx.set_tensor(0, DType::I64, vec![selected, Dim::from(3i64)]);
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let (boxes, scores) = (operand(inputs, 0)?, operand(inputs, 1)?);
        let (&[batches, count, 4], &[score_batches, classes, score_count]) = (boxes.shape(), scores.shape()) else {
            return Err(OpError::shape("boxes are not [n, m, 4] or scores not of rank 3"));
        };
        if batches != score_batches || count != score_count {
            return Err(OpError::shape(format!(
                "boxes {:?} and scores {:?} do not fit",
                boxes.shape(),
                scores.shape()
            )));
        }
        let limit = match inputs.get(2).copied().flatten() {
            Some(v) => integers(v)?.first().copied().unwrap_or(0),
            None => 0,
        };
        let limit = usize::try_from(limit).unwrap_or(0);
        let threshold = |i: usize| -> Result<Option<f64>, OpError> {
            let v: Option<View<'_>> = inputs.get(i).copied().flatten();
            Ok(v.map(widen).transpose()?.and_then(|v| v.first().copied()))
        };
        let (iou_limit, least) = (threshold(3)?.unwrap_or(0.0), threshold(4)?);
        let centred = cx.flag("center_point_box");
        let (box_values, score_values) = (widen(boxes)?, widen(scores)?);
        let mut selected: Vec<i64> = vec![];
        for (batch, class) in (0..batches).flat_map(|b| (0..classes).map(move |c| (b, c))) {
            let scores = &score_values[(batch * classes + class) * count..][..count];
            let corners: Vec<[f32; 4]> =
                box_values[batch * count * 4..][..count * 4].chunks(4).map(|b| rectangle(b, centred)).collect();
            let mut order: Vec<usize> = (0..count).filter(|i| least.is_none_or(|least| scores[*i] > least)).collect();
            order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
            let mut kept = Kept::new(&corners, iou_limit);
            for i in order {
                if kept.len >= limit {
                    break;
                }
                if kept.take(&corners[i]) {
                    selected.extend([batch as i64, class as i64, i as i64]);
                }
            }
        }
        Ok(vec![Tensor::new(vec![selected.len() / 3, 3], selected)?])
    }),
    ..OpDef::NEW
};

/// The boxes kept so far, in cells along the first axis as long as the longest box: boxes that overlap lie in neighbouring
/// cells.
struct Kept {
    cells: BTreeMap<i64, Vec<[f32; 4]>>,
    cell: f64,
    iou_limit: f64,
    len: usize,
}

impl Kept {
    fn new(boxes: &[[f32; 4]], iou_limit: f64) -> Kept {
        let longest = boxes.iter().map(|b| f64::from(b[2]) - f64::from(b[0])).fold(0.0, f64::max);
        // A little more, for rounding. Where boxes without an overlap suppress each other too, there is one cell.
        let cell = if iou_limit >= 0.0 { longest * 1.01 } else { f64::INFINITY };
        Kept { cells: BTreeMap::new(), cell, iou_limit, len: 0 }
    }

    /// Keeps a box unless it overlaps a kept one too much; whether it did.
    fn take(&mut self, b: &[f32; 4]) -> bool {
        // What is no number goes to cell 0, and overlaps nothing.
        let at = (f64::from(b[0]) / self.cell).floor() as i64;
        let near = self.cells.range(at.saturating_sub(1)..=at.saturating_add(1));
        if near.flat_map(|(_, boxes)| boxes).any(|k| overlap(b, k) > self.iou_limit) {
            return false;
        }
        self.cells.entry(at).or_default().push(*b);
        self.len += 1;
        true
    }
}

/// `[low, low, high, high]` of a box given by two corners in any order, or by centre and extents. In f32, as runtimes compare it.
fn rectangle(b: &[f64], centred: bool) -> [f32; 4] {
    let corners = if centred {
        let (w, h) = (b[2] / 2.0, b[3] / 2.0);
        [b[0] - w, b[1] - h, b[0] + w, b[1] + h]
    } else {
        [b[0].min(b[2]), b[1].min(b[3]), b[0].max(b[2]), b[1].max(b[3])]
    };
    corners.map(|v| v as f32)
}

/// Intersection over union; 0 where a box or the intersection is empty.
fn overlap(a: &[f32; 4], b: &[f32; 4]) -> f64 {
    let side = |i: usize| (a[i + 2].min(b[i + 2]) - a[i].max(b[i])).max(0.0);
    let both = side(0) * side(1);
    if both <= 0.0 {
        return 0.0;
    }
    let area = |r: &[f32; 4]| (r[2] - r[0]) * (r[3] - r[1]);
    let (area_a, area_b) = (area(a), area(b));
    let union = area_a + area_b - both;
    if area_a <= 0.0 || area_b <= 0.0 || union <= 0.0 { 0.0 } else { (both / union).into() }
}
