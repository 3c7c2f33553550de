//! NegativeLogLikelihoodLoss: the weighted negative of the log probability of each target class.

use crate::floats::widen;
use crate::ops::nn::loss::{ATTRS, TARGETS, infer, loss};
use crate::{OpDef, Param, TypeSet, operand};

/// The row of NegativeLogLikelihoodLoss.
pub const OP: OpDef = OpDef {
    name: "NegativeLogLikelihoodLoss",
    since: 12,
    types: &[("T", TypeSet::FLOAT), ("Tind", TARGETS)],
    inputs: &[Param::req("input", "T"), Param::req("target", "Tind"), Param::opt("weight", "T")],
    outputs: &[Param::req("loss", "T")],
    attrs: &ATTRS,
    infer,
    eval: Some(|cx, inputs| Ok(vec![loss(cx, inputs, &widen(operand(inputs, 0)?)?)?])),
    ..OpDef::NEW
};
