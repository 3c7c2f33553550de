//! TensorScatter: a cache with new elements written along its sequence axis, at a place of its own per batch element.

use crate::elementwise::infer_same;
use crate::indexing::{Cells, Filler, around, integers};
use crate::{AttrDef, OpDef, OpError, Param, TypeSet, known, normal_axis, operand};

/// The row of TensorScatter.
pub const OP: OpDef = OpDef {
    name: "TensorScatter",
    since: 24,
    types: &[("T", TypeSet::ALL), ("tensor(int64)", TypeSet::I64)],
    inputs: &[Param::req("past_cache", "T"), Param::req("update", "T"), Param::opt("write_indices", "tensor(int64)")],
    outputs: &[Param::req("present_cache", "T")],
    attrs: &[AttrDef::int("axis", -2), AttrDef::str("mode", "linear")],
    infer: |cx| {
        circular(cx.str("mode"))?;
        if let (Some(past), Some(update)) = (cx.shape(0)?, cx.shape(1)?) {
            let axis = cx.axis("axis", past.len())?;
            if axis == 0 {
                return Err(OpError::attribute("axis is the batch axis"));
            }
            known::same_shape(past, update, &[axis])?;
        }
        infer_same(cx)
    },
    eval: Some(|cx, inputs| {
        let (past, update) = (operand(inputs, 0)?, operand(inputs, 1)?);
        let circular = circular(cx.str("mode"))?;
        let axis = normal_axis(cx.int("axis"), past.rank())?;
        let same = |a: usize| a == axis || past.shape()[a] == update.shape()[a];
        if axis == 0 || past.rank() != update.rank() || !(0..past.rank()).all(same) {
            return Err(OpError::shape(format!("{:?} does not update {:?}", update.shape(), past.shape())));
        }
        let (batch, length) = (past.shape()[0], update.shape()[axis]);
        let starts = match inputs.get(2).copied().flatten() {
            Some(v) => integers(v)?,
            None => vec![0; batch],
        };
        if starts.len() != batch {
            return Err(OpError::shape(format!("{} write indices for {batch} batch elements", starts.len())));
        }
        let (outer, extent, inner) = around(past.shape(), axis)?;
        let mut out = Filler::copy_of(cx, past)?;
        let cells = Cells::of(update);
        for (o, t) in (0..outer).flat_map(|o| (0..length).map(move |t| (o, t))) {
            let at = i128::from(starts[o * batch / outer]) + t as i128;
            let at = if circular { at.rem_euclid(extent as i128) } else { at };
            let at = usize::try_from(at).ok().filter(|at| *at < extent);
            let at = at.ok_or_else(|| OpError::value("a write index is out of range"))?;
            out.copy((o * extent + at) * inner, &cells, (o * length + t) * inner, inner);
        }
        Ok(vec![out.finish()?])
    }),
    ..OpDef::NEW
};

fn circular(mode: &str) -> Result<bool, OpError> {
    match mode {
        "linear" => Ok(false),
        "circular" => Ok(true),
        _ => Err(OpError::attribute(format!("mode {mode:?} is not linear or circular"))),
    }
}
