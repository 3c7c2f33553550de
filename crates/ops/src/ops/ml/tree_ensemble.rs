//! TreeEnsemble: decision trees whose leaves vote for targets.
//!
//! The numbers of `post_transform` are those of the specification; onnxruntime 1.31 exchanges SOFTMAX and LOGISTIC.

use super::forest::{Forest, Join, Mode, Next, Split, Vote, index};
use super::in_operands;
use super::scores::{PostTransform, matrix};
use crate::floats::{narrow, widen};
use crate::{AttrDef, AttrKind, EvalCx, InferCx, OpDef, OpError, Param, TypeSet, operand};
use planc_ir::Attrs;
use planc_tensor::{DType, Dim, Tensor, View};

/// The row of TreeEnsemble.
pub const OP: OpDef = OpDef {
    name: "TreeEnsemble",
    domain: "ai.onnx.ml",
    since: 5,
    types: &[("T", TypeSet::of(&[DType::F32, DType::F64, DType::F16]))],
    inputs: &[Param::req("X", "T")],
    outputs: &[Param::req("Y", "T")],
    attrs: &[
        AttrDef::int("aggregate_function", 1),
        AttrDef::required("leaf_targetids", AttrKind::Ints),
        AttrDef::required("leaf_weights", AttrKind::Tensor),
        AttrDef::optional("membership_values", AttrKind::Tensor),
        AttrDef::optional("n_targets", AttrKind::Int),
        AttrDef::required("nodes_falseleafs", AttrKind::Ints),
        AttrDef::required("nodes_falsenodeids", AttrKind::Ints),
        AttrDef::required("nodes_featureids", AttrKind::Ints),
        AttrDef::optional("nodes_hitrates", AttrKind::Tensor),
        AttrDef::optional("nodes_missing_value_tracks_true", AttrKind::Ints),
        AttrDef::required("nodes_modes", AttrKind::Tensor),
        AttrDef::required("nodes_splits", AttrKind::Tensor),
        AttrDef::required("nodes_trueleafs", AttrKind::Ints),
        AttrDef::required("nodes_truenodeids", AttrKind::Ints),
        AttrDef::int("post_transform", 0),
        AttrDef::required("tree_roots", AttrKind::Ints),
    ],
    infer: |cx: &mut InferCx<'_>| {
        transform(cx.int("post_transform"))?;
        let targets = forest(cx.attrs())?.targets;
        let dtype = cx.dtype(0)?;
        let rows = match cx.shape(0)? {
            Some([n, _]) => n.clone(),
            Some(_) => return Err(OpError::shape("X is not a matrix")),
            None => cx.fresh(0, 0),
        };
        cx.set_tensor(0, dtype, vec![rows, Dim::from(targets)]);
        Ok(())
    },
    eval: Some(eval),
    decompose: Some(|graph, id| {
        let forest = forest(&graph.node(id).attrs);
        in_operands::decompose(graph, id, forest)
    }),
    ..OpDef::NEW
};

fn transform(number: i64) -> Result<PostTransform, OpError> {
    let found = usize::try_from(number).ok().and_then(|i| PostTransform::ALL.get(i));
    found.map(|t| t.1).ok_or_else(|| OpError::attribute(format!("post_transform is {number}")))
}

fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>]) -> Result<Vec<Tensor>, OpError> {
    let x = operand(inputs, 0)?;
    let (forest, transform) = (forest(cx.attrs())?.with_operands(inputs)?, transform(cx.int("post_transform"))?);
    let (rows, width) = matrix(x.shape())?;
    let shape = [rows, forest.targets];
    let mut y = Vec::with_capacity(cx.reserve(DType::F64, &shape)?);
    forest.run(&widen(x)?, width, |said| {
        transform.run(said.scores);
        y.extend_from_slice(said.scores);
    })?;
    Ok(vec![narrow(x.dtype(), &shape, y)?])
}

/// The trees, as the attributes say.
fn forest(attrs: &Attrs) -> Result<Forest, OpError> {
    let ints = |name: &str| attrs.ints(name).unwrap_or_default();
    let numbers = |name: &str| match attrs.tensor(name) {
        Some(t) => widen(t.view()),
        None => Ok(vec![]),
    };
    let (splits, modes, weights) = (numbers("nodes_splits")?, numbers("nodes_modes")?, numbers("leaf_weights")?);
    let (targets, missing) = (ints("leaf_targetids"), ints("nodes_missing_value_tracks_true"));
    let lists = ["nodes_falseleafs", "nodes_falsenodeids", "nodes_featureids", "nodes_trueleafs", "nodes_truenodeids"];
    let [false_leaf, no, features, true_leaf, yes] = lists.map(ints);
    let n = splits.len();
    let equal = [modes.len(), false_leaf.len(), no.len(), features.len(), true_leaf.len(), yes.len()];
    if equal.iter().any(|len| *len != n) || weights.len() != targets.len() || !missing.is_empty() && missing.len() != n
    {
        return Err(OpError::attribute("the lists of nodes or leaves differ in length"));
    }
    let members = numbers("membership_values")?;
    // Where the list of the next node that has one starts: each is closed by a NaN.
    let mut list = 0;
    let mut nodes = Vec::with_capacity(n);
    for i in 0..n {
        let mode =
            Mode::ALL.get(modes[i] as usize).ok_or_else(|| OpError::attribute("nodes_modes has no such mode"))?.1;
        let next = |leaf: i64, at: i64| if leaf != 0 { Next::Leaf(index(at)) } else { Next::Node(index(at)) };
        let mut value = splits[i];
        if mode == Mode::Member {
            value = list as f64;
            let own = members.get(list..).unwrap_or_default();
            list += own.iter().position(|m| m.is_nan()).unwrap_or(own.len()) + 1;
        }
        nodes.push(Split {
            mode,
            feature: index(features[i]),
            value,
            missing_is_true: missing.get(i).is_some_and(|m| *m != 0),
            yes: next(true_leaf[i], yes[i]),
            no: next(false_leaf[i], no[i]),
        });
    }
    // A tree of one leaf is a node both of whose branches are it.
    let roots = ints("tree_roots").iter().map(|r| Next::Node(index(*r))).collect();
    let targets_in = |n: i64| usize::try_from(n).unwrap_or(0);
    let most = targets.iter().map(|t| targets_in(t.saturating_add(1))).max().unwrap_or(0);
    let join = attrs.int("aggregate_function").unwrap_or(1);
    let found = usize::try_from(join).ok().and_then(|i| Join::ALL.get(i));
    let join = found.ok_or_else(|| OpError::attribute(format!("aggregate_function is {join}")))?.1;
    let votes: Vec<Vote> = targets.iter().zip(weights).map(|(t, weight)| Vote { target: index(*t), weight }).collect();
    let forest = Forest {
        nodes,
        roots,
        starts: (0..=index(votes.len() as i64)).collect(),
        votes,
        members,
        targets: attrs.int("n_targets").map_or(most, targets_in),
        join,
        single: false,
    };
    forest.check()?;
    Ok(forest)
}
