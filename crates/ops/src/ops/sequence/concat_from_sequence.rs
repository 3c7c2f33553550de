//! ConcatFromSequence: the elements joined along an axis, or (`new_axis = 1`) stacked along a new one.

use crate::ops::movement::concat;
use crate::sequences::{element_type, tensors};
use crate::{AttrDef, AttrKind, EvalCx, InferCx, OpDef, OpError, Param, TypeSet, normal_axis};
use planc_ir::Attrs;
use planc_tensor::{Tensor, View};

/// The row of ConcatFromSequence.
pub const OP: OpDef = OpDef {
    name: "ConcatFromSequence",
    since: 11,
    types: &[("S", TypeSet::ALL), ("T", TypeSet::ALL)],
    inputs: &[Param::req("input_sequence", "S")],
    outputs: &[Param::req("concat_result", "T")],
    attrs: &[AttrDef::required("axis", AttrKind::Int), AttrDef::int("new_axis", 0)],
    infer,
    eval: Some(eval),
    ..OpDef::NEW
};

fn infer(cx: &mut InferCx<'_>) -> Result<(), OpError> {
    let element = element_type(cx, 0)?.as_tensor().ok_or_else(|| OpError::type_("the elements are not tensors"))?;
    let stacks = cx.flag("new_axis");
    let shape = match element.shape.clone() {
        Some(mut s) => {
            let axis = normal_axis(cx.int("axis"), s.len() + usize::from(stacks))?;
            // All extents but that of the axis agree, whatever they are.
            let own = |(i, d): (usize, planc_tensor::Dim)| match d.as_const() {
                Some(_) => d,
                None => cx.fresh(0, i + usize::from(stacks && i >= axis)),
            };
            s = s.into_iter().enumerate().map(own).collect();
            match stacks {
                true => s.insert(axis, cx.fresh(0, axis)),
                false => s[axis] = cx.fresh(0, axis),
            }
            Some(s)
        }
        None => None,
    };
    cx.set_shape(0, element.dtype, shape);
    Ok(())
}

fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>]) -> Result<Vec<Tensor>, OpError> {
    let mut list = tensors(inputs, 0)?;
    let first = list.first().ok_or_else(|| OpError::value("the sequence is empty"))?;
    let stacks = cx.flag("new_axis");
    let axis = normal_axis(cx.int("axis"), first.rank() + usize::from(stacks))?;
    if list.iter().any(|t| t.rank() != first.rank() || t.dtype() != first.dtype()) {
        return Err(OpError::shape("the elements differ in rank or type"));
    }
    if stacks {
        for t in &mut list {
            let mut shape = t.shape().to_vec();
            shape.insert(axis, 1);
            *t = t.reshaped(shape)?;
        }
    }
    let views: Vec<Option<View<'_>>> = list.iter().map(|t| Some(t.view())).collect();
    cx.eval_other(&concat::OP, &Attrs::new().with("axis", axis as i64), &views)
}
