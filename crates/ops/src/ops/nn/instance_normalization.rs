//! InstanceNormalization: normalises each channel of each instance over its spatial axes.

use crate::ops::nn::group_normalization::{eval, infer, lower};
use crate::{AttrDef, AttrKind, LowerCx, Lowered, OpDef, Param, TypeSet, Upgrade};
use planc_tensor::Dim;

/// The row of InstanceNormalization.
pub const OP: OpDef = OpDef {
    name: "InstanceNormalization",
    types: &[("T", TypeSet::FLOAT)],
    inputs: &[Param::req("input", "T"), Param::req("scale", "T"), Param::req("B", "T")],
    outputs: &[Param::req("output", "T")],
    attrs: &[AttrDef::float("epsilon", 1e-5), AttrDef::optional("consumed_inputs", AttrKind::Ints).until(6)],
    upgrades: &[Upgrade {
        to: 6,
        step: |cx| {
            cx.attrs.take("consumed_inputs");
            Ok(())
        },
    }],
    infer: |cx| infer(cx, 0),
    eval: Some(|cx, inputs| eval(cx, inputs, 0, false)),
    lower: |cx: &LowerCx<'_>| {
        let channels = |s: &[Dim]| s.get(1).and_then(Dim::as_usize);
        let found = [
            cx.shape(0).ok().flatten().and_then(channels),
            cx.shape(1).ok().flatten().and_then(|s| s.first()?.as_usize()),
        ];
        match found.into_iter().flatten().next() {
            Some(c) => lower(cx, c),
            None => Lowered::Reference,
        }
    },
    ..OpDef::NEW
};
