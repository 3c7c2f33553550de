//! RNN: a recurrent layer of one gate.

use crate::ops::rnn::recurrent::{ATTRS, UPGRADES, eval, infer, lower};
use crate::{OpDef, Param, TypeSet};
use planc_kir::Cell;
use planc_tensor::DType;

/// The row of RNN.
pub const OP: OpDef = OpDef {
    name: "RNN",
    types: &[("T", TypeSet::FLOAT), ("T1", TypeSet::of(&[DType::I32]))],
    inputs: &[
        Param::req("X", "T"),
        Param::req("W", "T"),
        Param::req("R", "T"),
        Param::opt("B", "T"),
        Param::opt("sequence_lens", "T1"),
        Param::opt("initial_h", "T"),
    ],
    outputs: &[Param::opt("Y", "T"), Param::opt("Y_h", "T")],
    attrs: &ATTRS,
    upgrades: UPGRADES,
    infer: |cx| infer(cx, Cell::Rnn, false),
    eval: Some(|cx, inputs| eval(cx, inputs, Cell::Rnn)),
    lower: |cx| lower(cx, Cell::Rnn),
    ..OpDef::NEW
};
