//! RMSNormalization: x / sqrt(mean(x x) + epsilon) * scale over all axes from `axis` on.

use crate::ops::nn::layer_normalization::{eval, lower, stash_type};
use crate::{AttrDef, OpDef, Param, TypeSet};
use planc_ir::TensorType;
use planc_kir::NormKind;

/// The row of RMSNormalization.
pub const OP: OpDef = OpDef {
    name: "RMSNormalization",
    since: 23,
    types: &[("T", TypeSet::FLOAT), ("V", TypeSet::FLOAT)],
    inputs: &[Param::req("X", "T"), Param::req("scale", "V")],
    outputs: &[Param::req("Y", "V")],
    attrs: &[AttrDef::int("axis", -1), AttrDef::float("epsilon", 1e-5), AttrDef::int("stash_type", 1)],
    infer: |cx| {
        let (x, dtype) = (cx.tensor(0)?.clone(), cx.dtype(1)?);
        stash_type(cx)?;
        if let Some(rank) = x.rank() {
            cx.axis("axis", rank)?;
        }
        cx.set(0, TensorType { dtype, ..x });
        Ok(())
    },
    eval: Some(|cx, inputs| eval(cx, inputs, false)),
    lower: |cx| lower(cx, |axis| NormKind::Rms { axis }),
    ..OpDef::NEW
};
