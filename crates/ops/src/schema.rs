//! Signatures that many rows share: rows start from these and say what is their own.

use crate::elementwise::{infer_broadcast, infer_broadcast_as, infer_same};
use crate::ops::math::legacy_broadcast;
use crate::{AttrDef, AttrKind, OpDef, Param, Props, TypeSet, Upgrade};
use planc_tensor::DType;

/// An attribute of opset 1 without meaning: which operands may be overwritten.
pub const CONSUMED_INPUTS: AttrDef = AttrDef::optional("consumed_inputs", AttrKind::Ints).until(6);

/// Removes [`CONSUMED_INPUTS`].
pub const DROP_CONSUMED_INPUTS: Upgrade = Upgrade {
    to: 6,
    step: |cx| {
        cx.attrs.take("consumed_inputs");
        Ok(())
    },
};

/// Elementwise over floats, one operand.
pub const UNARY: OpDef = OpDef {
    types: &[("T", TypeSet::FLOAT)],
    inputs: &[Param::req("X", "T")],
    outputs: &[Param::req("Y", "T")],
    attrs: &[CONSUMED_INPUTS],
    upgrades: &[DROP_CONSUMED_INPUTS],
    props: Props::ELEMENTWISE,
    infer: infer_same,
    ..OpDef::NEW
};

/// Elementwise over numbers, two operands broadcast together.
pub const BINARY: OpDef = OpDef {
    types: &[("T", TypeSet::NUMERIC)],
    inputs: &[Param::req("A", "T"), Param::req("B", "T")],
    outputs: &[Param::req("C", "T")],
    attrs: &legacy_broadcast::ATTRS,
    upgrades: &[legacy_broadcast::UPGRADE],
    props: Props::ELEMENTWISE,
    infer: infer_broadcast,
    ..OpDef::NEW
};

/// As [`BINARY`], giving bool.
pub const COMPARISON: OpDef = OpDef {
    types: &[("T", TypeSet::NUMERIC), ("T1", TypeSet::BOOL)],
    outputs: &[Param::req("C", "T1")],
    infer: |cx| infer_broadcast_as(cx, DType::Bool),
    ..BINARY
};

/// Elementwise over any number of operands broadcast together.
pub const VARIADIC: OpDef = OpDef {
    types: &[("T", TypeSet::FLOAT)],
    inputs: &[Param::variadic("data_0", "T")],
    attrs: &[CONSUMED_INPUTS],
    upgrades: &[DROP_CONSUMED_INPUTS],
    props: Props::ELEMENTWISE,
    infer: infer_broadcast,
    ..OpDef::NEW
};
