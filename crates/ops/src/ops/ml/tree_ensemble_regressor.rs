//! TreeEnsembleRegressor: decision trees whose leaves vote for targets, in the form before TreeEnsemble: nodes have numbers
//! within their tree, and leaves are nodes.

use super::binarizer::NUMBERS;
use super::forest::{Forest, Join, Mode, Next, Split, matrix, transform};
use crate::floats::{narrow, widen};
use crate::{AttrDef, AttrKind, EvalCx, InferCx, OpDef, OpError, Param, TypeSet, operand};
use planc_ir::Attrs;
use planc_tensor::{DType, Dim, Tensor, View};
use std::collections::BTreeMap;

/// The row of TreeEnsembleRegressor.
pub const OP: OpDef = OpDef {
    name: "TreeEnsembleRegressor",
    domain: "ai.onnx.ml",
    types: &[("T", NUMBERS), ("F", TypeSet::F32)],
    inputs: &[Param::req("X", "T")],
    outputs: &[Param::req("Y", "F")],
    attrs: &[
        AttrDef::str("aggregate_function", "SUM"),
        AttrDef::optional("base_values", AttrKind::Floats),
        AttrDef::optional("base_values_as_tensor", AttrKind::Tensor).since(3),
        AttrDef::optional("n_targets", AttrKind::Int),
        AttrDef::optional("nodes_falsenodeids", AttrKind::Ints),
        AttrDef::optional("nodes_featureids", AttrKind::Ints),
        AttrDef::optional("nodes_hitrates", AttrKind::Floats),
        AttrDef::optional("nodes_hitrates_as_tensor", AttrKind::Tensor).since(3),
        AttrDef::optional("nodes_missing_value_tracks_true", AttrKind::Ints),
        AttrDef::optional("nodes_modes", AttrKind::Strs),
        AttrDef::optional("nodes_nodeids", AttrKind::Ints),
        AttrDef::optional("nodes_treeids", AttrKind::Ints),
        AttrDef::optional("nodes_truenodeids", AttrKind::Ints),
        AttrDef::optional("nodes_values", AttrKind::Floats),
        AttrDef::optional("nodes_values_as_tensor", AttrKind::Tensor).since(3),
        AttrDef::str("post_transform", "NONE"),
        AttrDef::optional("target_ids", AttrKind::Ints),
        AttrDef::optional("target_nodeids", AttrKind::Ints),
        AttrDef::optional("target_treeids", AttrKind::Ints),
        AttrDef::optional("target_weights", AttrKind::Floats),
        AttrDef::optional("target_weights_as_tensor", AttrKind::Tensor).since(3),
    ],
    infer: |cx: &mut InferCx<'_>| {
        let targets = forest(cx.attrs())?.targets;
        let rows = match cx.shape(0)? {
            Some([n, _]) => n.clone(),
            Some(_) => Dim::from(1i64),
            None => cx.fresh(0, 0),
        };
        cx.set_tensor(0, DType::F32, vec![rows, Dim::from(targets)]);
        Ok(())
    },
    eval: Some(eval),
    ..OpDef::NEW
};

fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>]) -> Result<Vec<Tensor>, OpError> {
    let x = operand(inputs, 0)?;
    let forest = forest(cx.attrs())?;
    let (rows, width) = matrix(x.shape())?;
    let shape = [rows, forest.targets];
    cx.reserve(DType::F64, &shape)?;
    let mut y = forest.run(&widen(x)?, width)?;
    let base = numbers(cx.attrs(), "base_values")?;
    if !base.is_empty() && base.len() != forest.targets {
        return Err(OpError::attribute(format!("{} base values for {} targets", base.len(), forest.targets)));
    }
    y.iter_mut().enumerate().for_each(|(i, v)| *v += base.get(i % forest.targets).unwrap_or(&0.0));
    transform(cx.str("post_transform"), &mut y, forest.targets)?;
    Ok(vec![narrow(DType::F32, &shape, y)?])
}

/// An attribute of floats, or the one that holds them as a tensor of f64.
fn numbers(attrs: &Attrs, name: &str) -> Result<Vec<f64>, OpError> {
    match attrs.tensor(&format!("{name}_as_tensor")) {
        Some(t) => widen(t.view()),
        None => Ok(attrs.floats(name).unwrap_or_default().iter().map(|v| f64::from(*v)).collect()),
    }
}

/// The trees, as the attributes say.
fn forest(attrs: &Attrs) -> Result<Forest, OpError> {
    let ints = |name: &str| attrs.ints(name).unwrap_or_default();
    let index = |v: i64| usize::try_from(v).unwrap_or(usize::MAX);
    let modes = attrs.strs("nodes_modes").unwrap_or_default();
    let (trees, ids, features) = (ints("nodes_treeids"), ints("nodes_nodeids"), ints("nodes_featureids"));
    let (yes, no, values) = (ints("nodes_truenodeids"), ints("nodes_falsenodeids"), numbers(attrs, "nodes_values")?);
    let missing = ints("nodes_missing_value_tracks_true");
    let n = modes.len();
    if [trees.len(), ids.len(), features.len(), yes.len(), no.len(), values.len()].iter().any(|len| *len != n)
        || !missing.is_empty() && missing.len() != n
    {
        return Err(OpError::attribute("the lists of nodes differ in length"));
    }
    let mut at: BTreeMap<(i64, i64), Next> = BTreeMap::new();
    let (mut inner, mut outer) = (0, 0);
    for i in 0..n {
        let counter = if modes[i] == "LEAF" { &mut outer } else { &mut inner };
        let next = if modes[i] == "LEAF" { Next::Leaf(*counter) } else { Next::Node(*counter) };
        *counter += 1;
        if at.insert((trees[i], ids[i]), next).is_some() {
            return Err(OpError::attribute(format!("node {} of tree {} is there twice", ids[i], trees[i])));
        }
    }
    let find = |tree: i64, id: i64| {
        at.get(&(tree, id)).copied().ok_or_else(|| OpError::attribute(format!("tree {tree} has no node {id}")))
    };
    let mut nodes = Vec::with_capacity(inner);
    let mut roots: BTreeMap<i64, Next> = BTreeMap::new();
    for i in 0..n {
        // The first node of a tree is its root.
        roots.entry(trees[i]).or_insert(find(trees[i], ids[i])?);
        if modes[i] == "LEAF" {
            continue;
        }
        let mode = Mode::ALL.iter().find(|(name, _)| *name == modes[i]).map(|m| m.1);
        nodes.push(Split {
            mode: mode.ok_or_else(|| OpError::attribute(format!("nodes_modes has {:?}", modes[i])))?,
            feature: index(features[i]),
            value: values[i],
            members: vec![],
            missing_is_true: missing.get(i).is_some_and(|m| *m != 0),
            yes: find(trees[i], yes[i])?,
            no: find(trees[i], no[i])?,
        });
    }
    let mut leaves = vec![vec![]; outer];
    let weights = numbers(attrs, "target_weights")?;
    let (vote_trees, vote_ids, targets) = (ints("target_treeids"), ints("target_nodeids"), ints("target_ids"));
    if [vote_trees.len(), vote_ids.len(), targets.len()].iter().any(|len| *len != weights.len()) {
        return Err(OpError::attribute("the lists of votes differ in length"));
    }
    for (i, weight) in weights.into_iter().enumerate() {
        if let Next::Leaf(leaf) = find(vote_trees[i], vote_ids[i])? {
            leaves[leaf].push((index(targets[i]), weight));
        }
    }
    let most = targets.iter().map(|t| index(*t).saturating_add(1)).max().unwrap_or(0);
    let join = attrs.str("aggregate_function").unwrap_or("SUM");
    let join = Join::ALL.iter().find(|(name, _)| *name == join).map(|j| j.1);
    let join = join.ok_or_else(|| OpError::attribute("aggregate_function is unknown"))?;
    let targets = attrs.int("n_targets").map_or(most, index);
    let forest = Forest { nodes, roots: roots.into_values().collect(), leaves, targets, join };
    forest.check()?;
    Ok(forest)
}
