//! TreeEnsemble: decision trees whose leaves vote for targets.

use super::forest::{Forest, Join, Mode, Next, Split, matrix, transform};
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
    ..OpDef::NEW
};

const TRANSFORMS: [&str; 5] = ["NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"];

fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>]) -> Result<Vec<Tensor>, OpError> {
    let x = operand(inputs, 0)?;
    let forest = forest(cx.attrs())?;
    let (rows, width) = matrix(x.shape())?;
    let shape = [rows, forest.targets];
    cx.reserve(DType::F64, &shape)?;
    let mut y = forest.run(&widen(x)?, width)?;
    let name = usize::try_from(cx.int("post_transform")).ok().and_then(|i| TRANSFORMS.get(i));
    transform(name.copied().unwrap_or_default(), &mut y, forest.targets)?;
    Ok(vec![narrow(x.dtype(), &shape, y)?])
}

/// The trees, as the attributes say.
fn forest(attrs: &Attrs) -> Result<Forest, OpError> {
    let ints = |name: &str| attrs.ints(name).unwrap_or_default();
    let index = |v: i64| usize::try_from(v).unwrap_or(usize::MAX);
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
    // Members of the nodes that have some, each list closed by a NaN.
    let members = numbers("membership_values")?;
    let mut members = members.split(|v| v.is_nan());
    let mut nodes = Vec::with_capacity(n);
    for i in 0..n {
        let mode =
            Mode::ALL.get(modes[i] as usize).ok_or_else(|| OpError::attribute("nodes_modes has no such mode"))?.1;
        let next = |leaf: i64, at: i64| if leaf != 0 { Next::Leaf(index(at)) } else { Next::Node(index(at)) };
        nodes.push(Split {
            mode,
            feature: index(features[i]),
            value: splits[i],
            members: if mode == Mode::Member { members.next().unwrap_or_default().to_vec() } else { vec![] },
            missing_is_true: missing.get(i).is_some_and(|m| *m != 0),
            yes: next(true_leaf[i], yes[i]),
            no: next(false_leaf[i], no[i]),
        });
    }
    // A tree of one leaf is a node both of whose branches are it.
    let roots = ints("tree_roots").iter().map(|r| Next::Node(index(*r))).collect();
    let count = attrs.int("n_targets").map(index);
    let most = targets.iter().map(|t| index(*t).saturating_add(1)).max().unwrap_or(0);
    let join = attrs.int("aggregate_function").unwrap_or(1);
    let join = Join::ALL.get(index(join)).ok_or_else(|| OpError::attribute(format!("aggregate_function is {join}")))?.1;
    let leaves = targets.iter().zip(weights).map(|(t, w)| vec![(index(*t), w)]).collect();
    let forest = Forest { nodes, roots, leaves, targets: count.unwrap_or(most), join };
    forest.check()?;
    Ok(forest)
}
