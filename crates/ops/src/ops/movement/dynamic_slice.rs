//! DynamicSlice: what `Slice` with bounds as operands was called as an experiment, before opset 10.

use super::slice;
use crate::{OpDef, Upgrade};
use planc_ir::OpName;

/// The row of DynamicSlice, whose nodes become `Slice`.
pub const OP: OpDef = OpDef {
    name: "DynamicSlice",
    until: 10,
    attrs: &[],
    upgrades: &[Upgrade {
        to: 10,
        step: |cx| {
            *cx.op = OpName::onnx("Slice");
            Ok(())
        },
    }],
    ..slice::OP
};
