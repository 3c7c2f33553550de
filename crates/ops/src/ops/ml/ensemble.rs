//! Tree ensembles in the form before TreeEnsemble: nodes have numbers within their tree, leaves are nodes, and what a leaf
//! says is in lists of its own.

use super::forest::{Forest, Join, Mode, Next, Split, Vote, index};
use crate::floats::widen;
use crate::{AttrDef, AttrKind, OpError};
use planc_ir::Attrs;

/// The attributes that classifiers and regressors share, before those of `OWN`.
pub(crate) const fn attributes<const N: usize>(own: &[AttrDef]) -> [AttrDef; N] {
    let shared = [
        AttrDef::optional("base_values", AttrKind::Floats),
        AttrDef::optional("base_values_as_tensor", AttrKind::Tensor).since(3),
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
    ];
    assert!(N == shared.len() + own.len());
    let mut all = [shared[0]; N];
    let mut i = 0;
    while i < N {
        all[i] = if i < shared.len() { shared[i] } else { own[i - shared.len()] };
        i += 1;
    }
    all
}

/// An attribute of floats, or the one that holds them as a tensor.
///
/// # Errors
/// When the tensor is not one of numbers.
pub(crate) fn numbers(attrs: &Attrs, name: &str) -> Result<Vec<f64>, OpError> {
    match attrs.tensor(&format!("{name}_as_tensor")) {
        Some(t) => widen(t.view()),
        None => Ok(attrs.floats(name).unwrap_or_default().iter().map(|v| f64::from(*v)).collect()),
    }
}

/// Finds nodes by tree and number.
struct Index {
    /// Tree, number, and what the node became, ascending.
    nodes: Vec<(i64, i64, Next)>,
    /// The tree that was asked for last, and where its nodes start.
    last: (i64, usize),
}

impl Index {
    fn find(&mut self, tree: i64, id: i64) -> Result<Next, OpError> {
        if self.last.0 != tree {
            self.last = (tree, self.nodes.partition_point(|n| n.0 < tree));
        }
        // The nodes of a tree mostly have the numbers from 0 on.
        let guess = usize::try_from(id).ok().and_then(|id| self.last.1.checked_add(id));
        let is = |n: &&(i64, i64, Next)| (n.0, n.1) == (tree, id);
        if let Some(node) = guess.and_then(|g| self.nodes.get(g)).filter(is) {
            return Ok(node.2);
        }
        let at = self.nodes.binary_search_by_key(&(tree, id), |n| (n.0, n.1));
        at.map(|i| self.nodes[i].2).map_err(|_| OpError::attribute(format!("tree {tree} has no node {id}")))
    }
}

/// The trees, as the attributes say; those of votes start with `kind`: `target` or `class`. `targets` is the number of
/// targets if that is known.
///
/// # Errors
/// When lists do not fit each other, or name what does not exist.
pub(crate) fn forest(attrs: &Attrs, kind: &str, targets: Option<usize>, join: Join) -> Result<Forest, OpError> {
    let ints = |name: &str| attrs.ints(name).unwrap_or_default();
    let modes = attrs.strs("nodes_modes").unwrap_or_default();
    let (trees, ids, features) = (ints("nodes_treeids"), ints("nodes_nodeids"), ints("nodes_featureids"));
    let (yes, no, values) = (ints("nodes_truenodeids"), ints("nodes_falsenodeids"), numbers(attrs, "nodes_values")?);
    let missing = ints("nodes_missing_value_tracks_true");
    let n = modes.len();
    if [trees.len(), ids.len(), features.len(), yes.len(), no.len(), values.len()].iter().any(|len| *len != n)
        || !missing.is_empty() && missing.len() != n
        || n >= u32::MAX as usize
    {
        return Err(OpError::attribute("the lists of nodes differ in length"));
    }
    let (mut inner, mut leaves) = (0, 0);
    let mut all = Vec::with_capacity(n);
    let mut roots = Vec::new();
    let mut last = None;
    for i in 0..n {
        let next = if modes[i] == "LEAF" { Next::Leaf(leaves) } else { Next::Node(inner) };
        *if modes[i] == "LEAF" { &mut leaves } else { &mut inner } += 1;
        all.push((trees[i], ids[i], next));
        // The first node of a tree is its root.
        if last.replace(trees[i]) != Some(trees[i]) {
            roots.push((trees[i], next));
        }
    }
    // A tree whose nodes do not lie together has its root where they start.
    roots.sort_by_key(|r| r.0);
    roots.dedup_by_key(|r| r.0);
    all.sort_by_key(|n| (n.0, n.1));
    if let Some(twice) = all.windows(2).find(|w| (w[0].0, w[0].1) == (w[1].0, w[1].1)) {
        return Err(OpError::attribute(format!("node {} of tree {} is there twice", twice[0].1, twice[0].0)));
    }
    let mut by_number = Index { nodes: all, last: (i64::MIN, 0) };
    let mut nodes = Vec::with_capacity(inner as usize);
    for i in (0..n).filter(|i| modes[*i] != "LEAF") {
        let mode = Mode::ALL.iter().find(|(name, m)| *name == modes[i] && *m != Mode::Member).map(|m| m.1);
        nodes.push(Split {
            mode: mode.ok_or_else(|| OpError::attribute(format!("nodes_modes has {:?}", modes[i])))?,
            feature: index(features[i]),
            value: values[i],
            missing_is_true: missing.get(i).is_some_and(|m| *m != 0),
            yes: by_number.find(trees[i], yes[i])?,
            no: by_number.find(trees[i], no[i])?,
        });
    }
    let weights = numbers(attrs, &format!("{kind}_weights"))?;
    let [vote_trees, vote_nodes, vote_targets] =
        ["treeids", "nodeids", "ids"].map(|list| ints(&format!("{kind}_{list}")));
    if [vote_trees.len(), vote_nodes.len(), vote_targets.len()].iter().any(|len| *len != weights.len()) {
        return Err(OpError::attribute("the lists of votes differ in length"));
    }
    let mut by_leaf = Vec::with_capacity(weights.len());
    for (i, weight) in weights.into_iter().enumerate() {
        // Votes of nodes that decide are never counted.
        if let Next::Leaf(leaf) = by_number.find(vote_trees[i], vote_nodes[i])? {
            by_leaf.push((leaf, Vote { target: index(vote_targets[i]), weight }));
        }
    }
    by_leaf.sort_by_key(|v| v.0);
    let mut starts = vec![0; leaves as usize + 1];
    by_leaf.iter().for_each(|(leaf, _)| starts[*leaf as usize + 1] += 1);
    (0..leaves as usize).for_each(|i| starts[i + 1] += starts[i]);
    let most = vote_targets.iter().map(|t| usize::try_from(*t).map_or(usize::MAX, |t| t + 1)).max().unwrap_or(0);
    let forest = Forest {
        nodes,
        roots: roots.into_iter().map(|r| r.1).collect(),
        votes: by_leaf.into_iter().map(|v| v.1).collect(),
        starts,
        members: vec![],
        targets: targets.unwrap_or(most),
        join,
        single: false,
    };
    forest.check()?;
    Ok(forest)
}
