//! ReverseSequence: the first `sequence_lens[b]` steps of batch element b reversed, the others as they are.

use crate::elementwise::infer_same;
use crate::indexing::{Cells, Filler, integers, strides};
use crate::{AttrDef, OpDef, OpError, Param, TypeSet, known, operand};

/// The row of ReverseSequence.
pub const OP: OpDef = OpDef {
    name: "ReverseSequence",
    since: 10,
    types: &[("T", TypeSet::ALL), ("tensor(int64)", TypeSet::I64)],
    inputs: &[Param::req("input", "T"), Param::req("sequence_lens", "tensor(int64)")],
    outputs: &[Param::req("Y", "T")],
    attrs: &[AttrDef::int("batch_axis", 1), AttrDef::int("time_axis", 0)],
    infer: |cx| {
        let (batch, _) = axes(cx.int("batch_axis"), cx.int("time_axis"))?;
        if let Some(s) = cx.shape(0)? {
            if s.len() < 2 {
                return Err(OpError::shape("the operand needs a batch and a time axis"));
            }
            if let Some([n]) = cx.shape(1)? {
                known::same(&s[batch], n)?;
            }
        }
        infer_same(cx)
    },
    eval: Some(|cx, inputs| {
        let (x, lengths) = (operand(inputs, 0)?, integers(operand(inputs, 1)?)?);
        let (batch, time) = axes(cx.int("batch_axis"), cx.int("time_axis"))?;
        let &[first, second, ref rest @ ..] = x.shape() else {
            return Err(OpError::shape("the operand needs a batch and a time axis"));
        };
        let (batches, steps) = if batch == 0 { (first, second) } else { (second, first) };
        if lengths.len() != batches {
            return Err(OpError::shape(format!("{} lengths for {batches} batch elements", lengths.len())));
        }
        let mut out = Filler::new(cx, x.dtype(), x.shape().to_vec())?;
        let (cells, strides) = (Cells::of(x), strides(x.shape()));
        let run: usize = rest.iter().product();
        if x.is_empty() {
            return Ok(vec![out.finish()?]);
        }
        for (b, length) in lengths.into_iter().enumerate() {
            let length = usize::try_from(length).ok().filter(|l| *l <= steps);
            let length = length.ok_or_else(|| OpError::value("a length is out of range"))?;
            for t in 0..steps {
                let from = if t < length { length - 1 - t } else { t };
                let at = |t: usize| b * strides[batch] + t * strides[time];
                out.copy(at(t), &cells, at(from), run);
            }
        }
        Ok(vec![out.finish()?])
    }),
    ..OpDef::NEW
};

fn axes(batch: i64, time: i64) -> Result<(usize, usize), OpError> {
    match (batch, time) {
        (0, 1) => Ok((0, 1)),
        (1, 0) => Ok((1, 0)),
        _ => Err(OpError::attribute(format!("batch_axis {batch} and time_axis {time} are not 0 and 1"))),
    }
}
