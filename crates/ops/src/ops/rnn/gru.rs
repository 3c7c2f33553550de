//! GRU: a recurrent layer of gates z, r, h (update, reset, hidden).

use crate::ops::rnn::recurrent::{ATTRS, UPGRADES, eval, infer, lower};
use crate::{AttrDef, OpDef, Param, TypeSet};
use planc_kir::Cell;
use planc_tensor::DType;

/// The row of GRU.
pub const OP: OpDef = OpDef {
    name: "GRU",
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
    attrs: &[
        AttrDef::int("linear_before_reset", 0).since(3),
        ATTRS[0],
        ATTRS[1],
        ATTRS[2],
        ATTRS[3],
        ATTRS[4],
        ATTRS[5],
        ATTRS[6],
        ATTRS[7],
    ],
    upgrades: UPGRADES,
    infer: |cx| infer(cx, Cell::Gru, false),
    eval: Some(|cx, inputs| eval(cx, inputs, Cell::Gru)),
    lower: |cx| lower(cx, Cell::Gru),
    ..OpDef::NEW
};
