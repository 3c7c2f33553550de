//! The tree ensembles of domain planc: those of ai.onnx.ml with their trees as constant operands, which a plan keeps among
//! its weights, instead of lists in attributes, which each run would have to put together again.

use super::forest::Forest;
use super::{tree_ensemble, tree_ensemble_classifier, tree_ensemble_regressor};
use crate::{AttrDef, AttrKind, OpDef, OpError, Param, TypeSet};
use planc_ir::{Attrs, Graph, NodeBuilder, NodeId, OpName, TensorType, Type, ValueId};
use planc_tensor::{Attr, DType};

/// The row of planc::TreeEnsembleClassifier.
pub const CLASSIFIER: OpDef = OpDef {
    domain: "planc",
    inputs: &OPERANDS,
    types: &TYPES,
    outputs: &[Param::req("Y", "L"), Param::req("Z", "R")],
    decompose: None,
    ..tree_ensemble_classifier::OP
};

/// The row of planc::TreeEnsembleRegressor.
pub const REGRESSOR: OpDef = OpDef {
    domain: "planc",
    inputs: &OPERANDS,
    types: &TYPES,
    outputs: &[Param::req("Y", "R")],
    decompose: None,
    ..tree_ensemble_regressor::OP
};

/// The row of planc::TreeEnsemble.
pub const ENSEMBLE: OpDef = OpDef {
    domain: "planc",
    since: 1,
    inputs: &OPERANDS,
    types: &TYPES,
    outputs: &[Param::req("Y", "R")],
    attrs: &[
        AttrDef::int("aggregate_function", 1),
        AttrDef::optional("n_targets", AttrKind::Int),
        AttrDef::int("post_transform", 0),
    ],
    decompose: None,
    ..tree_ensemble::OP
};

const TYPES: [(&str, TypeSet); 5] = [
    ("T", TypeSet::of(&[DType::F16, DType::F32, DType::F64, DType::I64, DType::I32])),
    ("I", TypeSet::of(&[DType::I32])),
    ("D", TypeSet::of(&[DType::F64])),
    ("L", tree_ensemble_classifier::LABELS),
    ("R", TypeSet::FLOAT),
];

/// The rows of features, and what [`Forest::tensors`] gives.
const OPERANDS: [Param; 8] = [
    Param::req("X", "T"),
    Param::req("nodes", "I"),
    Param::req("splits", "D"),
    Param::req("roots", "I"),
    Param::req("starts", "I"),
    Param::req("targets", "I"),
    Param::req("weights", "D"),
    Param::req("members", "D"),
];

/// Attributes that the operators of domain planc have too.
const KEPT: [&str; 6] = [
    "aggregate_function",
    "base_values",
    "base_values_as_tensor",
    "classlabels_int64s",
    "classlabels_strings",
    "post_transform",
];

/// Replaces an ensemble of ai.onnx.ml by that of the same name whose trees are operands.
///
/// # Errors
/// When its attributes make no trees.
pub(super) fn decompose(
    graph: &mut Graph,
    id: NodeId,
    forest: Result<Forest, OpError>,
) -> Result<Vec<Option<ValueId>>, String> {
    let forest = forest.map_err(|e| e.to_string())?;
    let node = graph.node(id).clone();
    let names: Vec<Option<String>> =
        node.outputs().iter().map(|v| v.map(|v| format!("{}.trees", graph.value(v).name))).collect();
    let base = names.iter().flatten().next().cloned().ok_or("no result is asked for")?;
    let mut inputs = vec![node.input(0)];
    for (tag, tensor) in forest.tensors() {
        inputs.push(Some(graph.add_const(&format!("{base}.{tag}"), tensor)));
    }
    let kept = node.attrs.iter().filter(|(name, _)| KEPT.contains(name));
    let mut attrs: Attrs = kept.map(|(name, value)| (name.to_string(), value.clone())).collect();
    // The number of classes is that of their labels.
    if &*node.op.name != CLASSIFIER.name {
        attrs.set("n_targets", Attr::Int(forest.targets as i64));
    }
    let builder =
        NodeBuilder::new(OpName::new("planc", &node.op.name)).optional_inputs(inputs).attrs(attrs).like(&node);
    let unknown: Type = TensorType::unranked(DType::F32).into();
    let made = graph.add_node(builder, names.into_iter().map(|n| n.map(|n| (n, unknown.clone()))).collect());
    crate::infer_node(graph, made).map_err(|e| e.to_string())?;
    Ok(graph.node(made).outputs().to_vec())
}
