//! Squeeze: without the axes of extent 1 (`axes`, or all such).

use super::reshape::reshaped;
use crate::indexing::integers;
use crate::{AttrDef, AttrKind, Lowered, OpDef, OpError, Param, Props, TypeSet, Upgrade, known, normal_axis, operand};
use planc_kir::Kernel;
use planc_tensor::Dim;

/// The row of Squeeze.
pub const OP: OpDef = OpDef {
    name: "Squeeze",
    types: &[("T", TypeSet::ALL), ("tensor(int64)", TypeSet::I64)],
    inputs: &[Param::req("data", "T"), Param::opt("axes", "tensor(int64)")],
    outputs: &[Param::req("squeezed", "T")],
    attrs: &[AttrDef::optional("axes", AttrKind::Ints).until(13)],
    upgrades: &[Upgrade {
        to: 13,
        step: |cx| {
            cx.ints_to_input("axes", 1);
            Ok(())
        },
    }],
    props: Props::RESHAPES,
    infer: |cx| {
        let dtype = cx.dtype(0)?;
        let shape = match (cx.shape(0)?, cx.has(1)) {
            (None, _) => None,
            (Some(s), false) => {
                let certain = s.iter().all(|d| d.as_const().is_some());
                certain.then(|| s.iter().filter(|d| d.as_const() != Some(1)).cloned().collect())
            }
            (Some(s), true) => match cx.known_ints(1) {
                Some(axes) => Some(without(s, &axes, |d| d.as_const().is_none_or(|d| d == 1))?),
                None => {
                    let gone = cx.shape(1)?.and_then(|s| s.first()).and_then(Dim::as_usize);
                    let rank = gone.and_then(|n| s.len().checked_sub(n));
                    rank.map(|r| (0..r).map(|i| cx.fresh(0, i)).collect())
                }
            },
        };
        cx.set_shape(0, dtype, shape);
        known::pass_through(cx);
        Ok(())
    },
    eval: Some(|_, inputs| {
        let x = operand(inputs, 0)?;
        let shape = match inputs.get(1).copied().flatten() {
            Some(axes) => without(x.shape(), &integers(axes)?, |d| *d == 1)?,
            None => x.shape().iter().copied().filter(|d| *d != 1).collect(),
        };
        reshaped(x, shape)
    }),
    lower: |cx| match cx.output(0) {
        Ok(ty) if ty.shape.is_some() && (!cx.has(1) || cx.known(1).is_some()) => Lowered::kernel(Kernel::Reshape, 1),
        _ => Lowered::Reference,
    },
    ..OpDef::NEW
};

/// `shape` without `axes`, each of which `is_one` must accept.
fn without<T: Clone>(shape: &[T], axes: &[i64], is_one: impl Fn(&T) -> bool) -> Result<Vec<T>, OpError> {
    let mut keep = vec![true; shape.len()];
    for axis in axes {
        let axis = normal_axis(*axis, shape.len())?;
        if !is_one(&shape[axis]) {
            return Err(OpError::shape(format!("axis {axis} does not have extent 1")));
        }
        keep[axis] = false;
    }
    Ok(shape.iter().zip(keep).filter(|(_, keep)| *keep).map(|(d, _)| d.clone()).collect())
}
