//! LSTM: a recurrent layer with a cell and gates i, o, f, c.

use crate::ops::rnn::recurrent::{ATTRS, UPGRADES, eval, infer, lower};
use crate::{AttrDef, OpDef, Param, TypeSet};
use planc_kir::Cell;
use planc_tensor::DType;

/// The row of LSTM.
pub const OP: OpDef = OpDef {
    name: "LSTM",
    types: &[("T", TypeSet::FLOAT), ("T1", TypeSet::of(&[DType::I32]))],
    inputs: &[
        Param::req("X", "T"),
        Param::req("W", "T"),
        Param::req("R", "T"),
        Param::opt("B", "T"),
        Param::opt("sequence_lens", "T1"),
        Param::opt("initial_h", "T"),
        Param::opt("initial_c", "T"),
        Param::opt("P", "T"),
    ],
    outputs: &[Param::opt("Y", "T"), Param::opt("Y_h", "T"), Param::opt("Y_c", "T")],
    attrs: &[
        AttrDef::int("input_forget", 0),
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
    infer: |cx| infer(cx, Cell::Lstm, false),
    eval: Some(|cx, inputs| eval(cx, inputs, Cell::Lstm)),
    lower: |cx| lower(cx, Cell::Lstm),
    ..OpDef::NEW
};
