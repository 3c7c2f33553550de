//! SoftmaxCrossEntropyLoss: the negative log likelihood of the softmax of scores, and the log probabilities.

use crate::floats::narrow;
use crate::ops::nn::loss::{ATTRS, TARGETS, infer, log_softmax, loss};
use crate::{OpDef, OpError, Param, TypeSet, operand};

/// The row of SoftmaxCrossEntropyLoss.
pub const OP: OpDef = OpDef {
    name: "SoftmaxCrossEntropyLoss",
    since: 12,
    types: &[("T", TypeSet::FLOAT), ("Tind", TARGETS)],
    inputs: &[Param::req("scores", "T"), Param::req("labels", "Tind"), Param::opt("weights", "T")],
    outputs: &[Param::req("output", "T"), Param::opt("log_prob", "T")],
    attrs: &ATTRS,
    infer: |cx| {
        infer(cx)?;
        let ty = cx.tensor(0)?.clone();
        cx.set(1, ty);
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let scores = operand(inputs, 0)?;
        let log = log_softmax(scores)?;
        let loss = loss(cx, inputs, &log)?;
        Ok::<_, OpError>(vec![loss, narrow(scores.dtype(), scores.shape(), log)?])
    }),
    ..OpDef::NEW
};
