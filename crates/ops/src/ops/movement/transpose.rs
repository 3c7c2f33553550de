//! Transpose: result axis i is operand axis `perm[i]`; without `perm` the axes are reversed.

use crate::elementwise::only;
use crate::indexing::{by_axis, strides};
use crate::{AttrDef, AttrKind, Lowered, OpDef, OpError, Param, TypeSet, known};
use planc_kir::Kernel;

/// The row of Transpose.
pub const OP: OpDef = OpDef {
    name: "Transpose",
    types: &[("T", TypeSet::ALL)],
    inputs: &[Param::req("data", "T")],
    outputs: &[Param::req("transposed", "T")],
    attrs: &[AttrDef::optional("perm", AttrKind::Ints)],
    infer: |cx| {
        let dtype = cx.dtype(0)?;
        let shape = match (cx.shape(0)?, cx.ints("perm")) {
            (Some(s), perm) => Some(permutation(perm, s.len())?.into_iter().map(|a| s[a].clone()).collect()),
            (None, Some(perm)) => {
                permutation(Some(perm), perm.len())?;
                Some((0..perm.len()).map(|i| cx.fresh(0, i)).collect())
            }
            (None, None) => None,
        };
        cx.set_shape(0, dtype, shape);
        known::pass_through(cx);
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let x = only(inputs)?;
        let perm = permutation(cx.ints("perm"), x.rank())?;
        let strides = strides(x.shape());
        let shape = perm.iter().map(|a| x.shape()[*a]).collect();
        Ok(vec![by_axis(cx, x, shape, None, |a, i| i * strides[perm[a]])?])
    }),
    lower: |cx| {
        let rank = cx.shape(0).ok().flatten().map(<[_]>::len);
        match rank.map(|r| permutation(cx.ints("perm"), r)) {
            Some(Ok(perm)) => Lowered::kernel(Kernel::Transpose { perm }, 1),
            _ => Lowered::Reference,
        }
    },
    ..OpDef::NEW
};

/// `perm` checked, or the axes reversed.
fn permutation(perm: Option<&[i64]>, rank: usize) -> Result<Vec<usize>, OpError> {
    let Some(perm) = perm else { return Ok((0..rank).rev().collect()) };
    let axes: Vec<usize> = perm.iter().filter_map(|a| usize::try_from(*a).ok()).collect();
    let mut sorted = axes.clone();
    sorted.sort_unstable();
    if perm.len() != rank || !sorted.iter().copied().eq(0..rank) {
        return Err(OpError::attribute(format!("perm {perm:?} is no permutation of {rank} axes")));
    }
    Ok(axes)
}
