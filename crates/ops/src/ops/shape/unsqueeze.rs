//! Unsqueeze: new axes of extent 1 at the places `axes` of the result.

use super::reshape::reshaped;
use crate::indexing::integers;
use crate::{AttrDef, AttrKind, Lowered, OpDef, OpError, Param, Props, TypeSet, Upgrade, known, normal_axis, operand};
use planc_kir::Kernel;
use planc_tensor::{DType, Dim};

/// The row of Unsqueeze.
pub const OP: OpDef = OpDef {
    name: "Unsqueeze",
    types: &[("T", TypeSet::ALL), ("tensor(int64)", TypeSet::I64)],
    inputs: &[Param::req("data", "T"), Param::req("axes", "tensor(int64)")],
    outputs: &[Param::req("expanded", "T")],
    attrs: &[AttrDef::required("axes", AttrKind::Ints).until(13)],
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
        let shape = match (cx.shape(0)?, cx.known_ints(1)) {
            (Some(s), Some(axes)) => Some(with_ones(s, &axes, Dim::from(1i64))?),
            (Some(s), None) => {
                let new = cx.shape(1)?.and_then(|a| a.first()).and_then(Dim::as_usize).filter(|n| *n <= 64);
                new.map(|n| (0..s.len() + n).map(|i| cx.fresh(0, i)).collect())
            }
            (None, _) => None,
        };
        cx.set_shape(0, dtype, shape);
        known::pass_through(cx);
        Ok(())
    },
    eval: Some(|_, inputs| {
        let x = operand(inputs, 0)?;
        reshaped(x, with_ones(x.shape(), &integers(operand(inputs, 1)?)?, 1)?)
    }),
    lower: |cx| if cx.known(1).is_some() { Lowered::kernel(Kernel::Reshape, 1) } else { Lowered::Reference },
    ..OpDef::NEW
};

/// The row of com.microsoft's ExpandDims: one new axis.
pub const EXPAND_DIMS: OpDef = OpDef {
    name: "ExpandDims",
    domain: "com.microsoft",
    types: &[("T", TypeSet::ALL), ("tensor(int32)", TypeSet::of(&[DType::I32]))],
    inputs: &[Param::req("X", "T"), Param::req("axis", "tensor(int32)")],
    outputs: &[Param::req("Y", "T")],
    attrs: &[],
    upgrades: &[],
    ..OP
};

/// `shape` with `one` at the places `axes` of the result.
fn with_ones<T: Clone>(shape: &[T], axes: &[i64], one: T) -> Result<Vec<T>, OpError> {
    let rank = shape.len() + axes.len();
    let mut new = vec![false; rank];
    for axis in axes {
        let axis = normal_axis(*axis, rank)?;
        if std::mem::replace(&mut new[axis], true) {
            return Err(OpError::attribute(format!("axis {axis} is there twice")));
        }
    }
    let mut old = shape.iter();
    let extent = |new: bool| if new { one.clone() } else { old.next().unwrap_or(&one).clone() };
    Ok(new.into_iter().map(extent).collect())
}
