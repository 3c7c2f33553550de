//! Bernoulli: 1 with the probability that the operand says, else 0.

use crate::floats::widen;
use crate::ops::random::generator::{SEED, element_type, fill};
use crate::{AttrDef, AttrKind, InferCx, OpDef, OpError, Param, Props, TypeSet, operand};

/// The row of Bernoulli.
pub const OP: OpDef = OpDef {
    name: "Bernoulli",
    since: 15,
    types: &[("T1", TypeSet::FLOAT), ("T2", TypeSet::NUMERIC.or(TypeSet::BOOL))],
    inputs: &[Param::req("input", "T1")],
    outputs: &[Param::req("output", "T2")],
    attrs: &[AttrDef::optional("dtype", AttrKind::Int), SEED],
    props: Props::RANDOM,
    infer: |cx: &mut InferCx<'_>| {
        let like = cx.tensor(0)?.clone();
        let dtype = element_type(cx.opt_int("dtype"), like.dtype, TypeSet::NUMERIC.or(TypeSet::BOOL))?;
        cx.set_shape(0, dtype, like.shape);
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let p = operand(inputs, 0)?;
        let chances = widen(p)?;
        if chances.iter().any(|p| !(0.0..=1.0).contains(p)) {
            return Err(OpError::value("a probability is not in 0..=1"));
        }
        let mut next = chances.into_iter();
        fill(cx, p.shape(), |g| if g.uniform() < next.next().unwrap_or(0.0) { 1.0 } else { 0.0 })
    }),
    ..OpDef::NEW
};
