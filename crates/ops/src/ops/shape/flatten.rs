//! Flatten: two axes, the product of the extents before `axis` and of those from it on.

use super::reshape::reshaped;
use crate::elementwise::only;
use crate::{AttrDef, Lowered, OpDef, OpError, Param, Props, TypeSet, known};
use planc_kir::Kernel;

/// The row of Flatten.
pub const OP: OpDef = OpDef {
    name: "Flatten",
    types: &[("T", TypeSet::ALL)],
    inputs: &[Param::req("input", "T")],
    outputs: &[Param::req("output", "T")],
    attrs: &[AttrDef::int("axis", 1)],
    props: Props::RESHAPES,
    infer: |cx| {
        let shape = match cx.shape(0)? {
            Some(s) => {
                let (outer, inner) = s.split_at(split(cx.int("axis"), s.len())?);
                vec![known::product(outer), known::product(inner)]
            }
            None => vec![cx.fresh(0, 0), cx.fresh(0, 1)],
        };
        cx.set_tensor(0, cx.dtype(0)?, shape);
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let x = only(inputs)?;
        let (outer, inner) = x.shape().split_at(split(cx.int("axis"), x.rank())?);
        // A product saturates only in an empty tensor; the reshape then refuses it.
        let count = |s: &[usize]| s.iter().fold(1usize, |n, d| n.saturating_mul(*d));
        reshaped(x, vec![count(outer), count(inner)])
    }),
    lower: |_| Lowered::kernel(Kernel::Reshape, 1),
    ..OpDef::NEW
};

/// `axis` in `-rank..=rank`, from the front.
fn split(axis: i64, rank: usize) -> Result<usize, OpError> {
    let r = rank as i64;
    if axis < -r || axis > r {
        return Err(OpError::attribute(format!("axis {axis} is out of range for rank {rank}")));
    }
    Ok(if axis < 0 { axis + r } else { axis } as usize)
}
