//! Dropout. In inference the result is operand 0 and the mask holds everywhere. In training mode, which operand 2 asks
//! for, elements become 0 with the probability `ratio`, and the others are scaled so that the mean stays. Which ones
//! become 0 is what ONNX's own reference says for the same seed.
//!
//! Passes take Dropout for a reshape: nodes that may be in training mode become `planc::Dropout` first.

use crate::elementwise::{infer_same, only};
use crate::floats::{narrow, widen};
use crate::ops::random::mersenne::Mersenne;
use crate::{
    AttrDef, AttrKind, EvalCx, InferCx, Lowered, OpDef, OpError, Param, Props, TypeSet, Upgrade, known, schema,
};
use planc_ir::{Graph, NodeBuilder, NodeId, OpName, TensorType, ValueId};
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
        if !cx.has(2) {
            known::pass_through(cx);
        }
        let mask = mask_type(cx)?;
        cx.set(1, mask);
        Ok(())
    },
    eval: Some(eval),
    // Backends see a kernel only where nobody asks for the mask.
    lower: |cx| match (cx.output(1), cx.has(2), cx.constant(2).map(Tensor::view)) {
        (Err(_), false, _) => Lowered::kernel(Kernel::Reshape, 1),
        (Err(_), true, Some(mode)) if !trains(Some(mode)) => Lowered::kernel(Kernel::Reshape, 1),
        _ => Lowered::Reference,
    },
    decompose: Some(decompose),
    ..OpDef::NEW
};

fn mask_type(cx: &InferCx<'_>) -> Result<TensorType, OpError> {
    let data = cx.tensor(0)?;
    let dtype = if cx.flag("float_mask") { data.dtype } else { DType::Bool };
    Ok(TensorType { dtype, ..data.clone() })
}

/// Whether operand 2, if it is there, asks for training mode.
fn trains(mode: Option<View<'_>>) -> bool {
    mode.and_then(|m| m.to_i64()).and_then(|m| m.first().copied()).is_some_and(|m| m != 0)
}

fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>]) -> Result<Vec<Tensor>, OpError> {
    let data = only(inputs)?;
    let at = |i: usize| inputs.get(i).copied().flatten();
    let ratio = match at(1) {
        Some(r) => crate::scalar::floats(r)?.first().copied().unwrap_or(0.5),
        None => 0.5,
    };
    if !trains(at(2)) || ratio == 0.0 {
        let mask = Tensor::new(data.shape(), vec![true; data.len()])?;
        let mask = match cx.flag("float_mask") {
            true => crate::cast::convert(mask.view(), data.dtype(), Default::default())?,
            false => mask,
        };
        return Ok(vec![data.to_tensor(), mask]);
    }
    if !(0.0..1.0).contains(&ratio) {
        return Err(OpError::value(format!("ratio is {ratio}, not in 0..1")));
    }
    let mut generator = Mersenne::new(cx.int("seed") as u32);
    let mask: Vec<bool> = (0..data.len()).map(|_| generator.uniform() >= ratio).collect();
    let scaled = |(v, kept): (f64, &bool)| if *kept { v / (1.0 - ratio) } else { 0.0 };
    let values = widen(data)?.into_iter().zip(&mask).map(scaled).collect();
    Ok(vec![narrow(data.dtype(), data.shape(), values)?, Tensor::new(data.shape(), mask)?])
}

/// A node that may be in training mode becomes `planc::Dropout`, which is no reshape.
fn decompose(graph: &mut Graph, id: NodeId) -> Result<Vec<Option<ValueId>>, String> {
    let node = graph.node(id).clone();
    let Some(mode) = node.input(2) else { return Err("it is not in training mode".into()) };
    if graph.constant(mode).is_some_and(|t| !trains(Some(t.view()))) {
        return Err("it is not in training mode".into());
    }
    let results = node.outputs().iter().enumerate();
    let results = results.map(|(i, v)| {
        let value = graph.value((*v)?);
        Some((format!("{}.{}", value.name, if i == 0 { "dropped" } else { "kept" }), value.ty.clone()))
    });
    let results = results.collect();
    let builder = NodeBuilder::new(OpName::new("planc", "Dropout")).optional_inputs(node.inputs().to_vec());
    let made = graph.add_node(builder.attrs(node.attrs.clone()).like(&node), results);
    Ok(graph.node(made).outputs().to_vec())
}
