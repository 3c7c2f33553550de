//! TreeEnsembleRegressor: decision trees whose leaves vote for targets, in the form before TreeEnsemble.

use super::binarizer::NUMBERS;
use super::ensemble::{attributes, forest, numbers};
use super::forest::{Forest, Join};
use super::in_operands;
use super::scores::{PostTransform, matrix, rows};
use crate::floats::{narrow, widen};
use crate::{AttrDef, AttrKind, EvalCx, InferCx, OpDef, OpError, Param, TypeSet, operand};
use planc_ir::Attrs;
use planc_tensor::{DType, Dim, Tensor, View};

const ATTRS: [AttrDef; 21] = attributes(&[
    AttrDef::str("aggregate_function", "SUM"),
    AttrDef::optional("n_targets", AttrKind::Int),
    AttrDef::optional("target_ids", AttrKind::Ints),
    AttrDef::optional("target_nodeids", AttrKind::Ints),
    AttrDef::optional("target_treeids", AttrKind::Ints),
    AttrDef::optional("target_weights", AttrKind::Floats),
    AttrDef::optional("target_weights_as_tensor", AttrKind::Tensor).since(3),
]);

/// The row of TreeEnsembleRegressor.
pub const OP: OpDef = OpDef {
    name: "TreeEnsembleRegressor",
    domain: "ai.onnx.ml",
    types: &[("T", NUMBERS), ("F", TypeSet::F32)],
    inputs: &[Param::req("X", "T")],
    outputs: &[Param::req("Y", "F")],
    attrs: &ATTRS,
    infer: |cx: &mut InferCx<'_>| {
        PostTransform::named(cx.str("post_transform"))?;
        let targets = trees(cx.attrs())?.targets;
        let rows = rows(cx)?;
        cx.set_tensor(0, DType::F32, vec![rows, Dim::from(targets)]);
        Ok(())
    },
    eval: Some(eval),
    decompose: Some(|graph, id| {
        let trees = trees(&graph.node(id).attrs);
        in_operands::decompose(graph, id, trees)
    }),
    ..OpDef::NEW
};

fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>]) -> Result<Vec<Tensor>, OpError> {
    let x = operand(inputs, 0)?;
    let trees = trees(cx.attrs())?.with_operands(inputs)?;
    let transform = PostTransform::named(cx.str("post_transform"))?;
    let (rows, width) = matrix(x.shape())?;
    let shape = [rows, trees.targets];
    let mut y = Vec::with_capacity(cx.reserve(DType::F64, &shape)?);
    let base = numbers(cx.attrs(), "base_values")?;
    if !base.is_empty() && base.len() != trees.targets {
        return Err(OpError::attribute(format!("{} base values for {} targets", base.len(), trees.targets)));
    }
    trees.run(&widen(x)?, width, |said| {
        said.scores.iter_mut().zip(&base).for_each(|(v, b)| *v += b);
        transform.run(said.scores);
        y.extend_from_slice(said.scores);
    })?;
    Ok(vec![narrow(DType::F32, &shape, y)?])
}

fn trees(attrs: &Attrs) -> Result<Forest, OpError> {
    let join = attrs.str("aggregate_function").unwrap_or("SUM");
    let join = Join::ALL.iter().find(|(name, _)| *name == join).map(|j| j.1);
    let join = join.ok_or_else(|| OpError::attribute("aggregate_function is unknown"))?;
    let targets = attrs.int("n_targets").map(|n| usize::try_from(n).unwrap_or(0));
    forest(attrs, "target", targets, join)
}
