//! Dropout as in inference: the result is operand 0 and the mask holds everywhere.
//!
//! Training mode, which drops elements at random, is refused unless its ratio is 0.

use crate::elementwise::{infer_same, only};
use crate::{AttrDef, AttrKind, InferCx, Lowered, OpDef, OpError, Param, Props, TypeSet, Upgrade, known, schema};
use planc_ir::TensorType;
use planc_kir::Kernel;
use planc_tensor::{DType, Tensor, View};

/// The row of Dropout.
pub const OP: OpDef = OpDef {
    name: "Dropout",
    types: &[
        ("T", TypeSet::FLOAT.or(TypeSet::FLOAT8)),
        ("T1", TypeSet::FLOAT.or(TypeSet::FLOAT8)),
        ("T2", TypeSet::BOOL),
    ],
    inputs: &[Param::req("data", "T"), Param::opt("ratio", "T1"), Param::opt("training_mode", "T2")],
    outputs: &[Param::req("output", "T"), Param::opt("mask", "T2")],
    attrs: &[
        AttrDef::optional("seed", AttrKind::Int).since(12),
        AttrDef::optional("ratio", AttrKind::Float).until(12),
        AttrDef::int("is_test", 0).until(7),
        AttrDef::int("float_mask", 0).internal(),
        schema::CONSUMED_INPUTS,
    ],
    upgrades: &[
        schema::DROP_CONSUMED_INPUTS,
        Upgrade {
            to: 7,
            // Before, nodes were in training mode unless they said otherwise; models were exported for inference.
            step: |cx| {
                cx.attrs.take("is_test");
                Ok(())
            },
        },
        Upgrade {
            to: 10,
            // The mask had the type of the data.
            step: |cx| {
                cx.attrs.set("float_mask", 1i64);
                Ok(())
            },
        },
        Upgrade {
            to: 12,
            step: |cx| {
                cx.attrs.take("ratio");
                Ok(())
            },
        },
    ],
    props: Props::ELEMENTWISE.or(Props::RESHAPES),
    infer: |cx| {
        infer_same(cx)?;
        known::pass_through(cx);
        if let Some(mode) = cx.constant(2) {
            check(cx.constant(1).map(Tensor::view), mode.view())?;
        }
        let mask = mask_type(cx)?;
        cx.set(1, mask);
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let data = only(inputs)?;
        if let Some(mode) = inputs.get(2).copied().flatten() {
            check(inputs.get(1).copied().flatten(), mode)?;
        }
        let mask = if cx.flag("float_mask") {
            crate::cast::convert(all(data)?.view(), data.dtype(), Default::default())?
        } else {
            all(data)?
        };
        Ok(vec![data.to_tensor(), mask])
    }),
    // Backends see a kernel only where nobody asks for the mask.
    lower: |cx| match (cx.output(1), cx.constant(2), cx.has(2)) {
        (Err(_), Some(_), _) | (Err(_), None, false) => Lowered::kernel(Kernel::Reshape, 1),
        _ => Lowered::Reference,
    },
    ..OpDef::NEW
};

fn mask_type(cx: &InferCx<'_>) -> Result<TensorType, OpError> {
    let data = cx.tensor(0)?;
    let dtype = if cx.flag("float_mask") { data.dtype } else { DType::Bool };
    Ok(TensorType { dtype, ..data.clone() })
}

/// A mask that holds everywhere.
fn all(data: View<'_>) -> Result<Tensor, OpError> {
    Ok(Tensor::new(data.shape(), vec![true; data.len()])?)
}

/// Refuses training mode with a ratio other than 0.
fn check(ratio: Option<View<'_>>, mode: View<'_>) -> Result<(), OpError> {
    let training = mode.to_i64().unwrap_or_default().first().is_some_and(|v| *v != 0);
    let ratio = ratio.map(crate::scalar::floats).transpose()?.and_then(|r| r.first().copied()).unwrap_or(0.5);
    if training && ratio != 0.0 { Err(OpError::unsupported("dropout in training mode")) } else { Ok(()) }
}
