//! What the global poolings share: they reduce all axes from 2 on and keep them.

use crate::{InferCx, LowerCx, Lowered, OpError};
use planc_kir::{Kernel, Reduce, ReduceOp};
use planc_tensor::{Dim, View};

/// Inference.
pub(crate) fn infer(cx: &mut InferCx<'_>) -> Result<(), OpError> {
    let (dtype, x) = (cx.dtype(0)?, cx.shape(0)?);
    if let Some(x) = x
        && x.len() < 2
    {
        return Err(OpError::shape(format!("data of rank {} has no channels", x.len())));
    }
    let kept = |i: usize, d: &Dim| if i < 2 { d.clone() } else { Dim::from(1i64) };
    cx.set_shape(0, dtype, x.map(|x| x.iter().enumerate().map(|(i, d)| kept(i, d)).collect()));
    Ok(())
}

/// The result's shape and the elements in each plane.
pub(crate) fn planes(x: View<'_>) -> Result<(Vec<usize>, usize), OpError> {
    let s = x.shape();
    if s.len() < 2 {
        return Err(OpError::shape(format!("data of rank {} has no channels", s.len())));
    }
    Ok(([&s[..2], &vec![1; s.len() - 2]].concat(), s[2..].iter().product()))
}

/// Lowering.
pub(crate) fn lower(cx: &LowerCx<'_>, op: ReduceOp) -> Lowered {
    match cx.tensor(0).map(|t| (t.dtype, t.rank())) {
        Ok((dtype, Some(rank))) => Lowered::kernel(Kernel::Reduce(Reduce::plain(op, dtype, (2..rank).collect())), 1),
        _ => Lowered::Reference,
    }
}
