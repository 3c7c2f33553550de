//! Decision trees as the tree ensembles of all versions describe them: walking rows to leaves, and joining what the leaves
//! say.
//!
//! Guarantees: walking ends, whatever the numbers say, because no tree is deeper than it has nodes. Nothing is allocated
//! per row.

use crate::{OpError, operand};
use planc_tensor::{Element, Tensor, View};

/// How a node decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// x <= split.
    LessOrEqual,
    /// x < split.
    Less,
    /// x >= split.
    GreaterOrEqual,
    /// x > split.
    Greater,
    /// x = split.
    Equal,
    /// x differs from split, and is not missing: where missing values go, only the node's own flag says.
    NotEqual,
    /// x is one of the node's members.
    Member,
}

impl Mode {
    /// The modes, in the order of their numbers in TreeEnsemble.
    pub const ALL: [(&str, Mode); 7] = [
        ("BRANCH_LEQ", Mode::LessOrEqual),
        ("BRANCH_LT", Mode::Less),
        ("BRANCH_GTE", Mode::GreaterOrEqual),
        ("BRANCH_GT", Mode::Greater),
        ("BRANCH_EQ", Mode::Equal),
        ("BRANCH_NEQ", Mode::NotEqual),
        ("BRANCH_MEMBER", Mode::Member),
    ];
}

/// Where a branch goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// To a node.
    Node(u32),
    /// To a leaf.
    Leaf(u32),
}

/// A node that decides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Split {
    /// What the feature is compared with; of [`Mode::Member`], where the node's list starts in [`Forest::members`].
    pub value: f64,
    pub feature: u32,
    pub yes: Next,
    pub no: Next,
    pub mode: Mode,
    pub missing_is_true: bool,
}

impl Split {
    fn decide(&self, x: f64, members: &[f64]) -> bool {
        let holds = match self.mode {
            Mode::LessOrEqual => x <= self.value,
            Mode::Less => x < self.value,
            Mode::GreaterOrEqual => x >= self.value,
            Mode::Greater => x > self.value,
            Mode::Equal => x == self.value,
            Mode::NotEqual => x != self.value && !x.is_nan(),
            Mode::Member => {
                let own = members.get(self.value as usize..).unwrap_or_default();
                own.iter().take_while(|m| !m.is_nan()).any(|m| *m == x)
            }
        };
        holds || self.missing_is_true && x.is_nan()
    }
}

/// How the votes of leaves join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Join {
    /// Mean over trees.
    Average,
    /// Sum.
    Sum,
    /// Smallest.
    Min,
    /// Largest.
    Max,
}

impl Join {
    /// The names, in the order of their numbers in TreeEnsemble.
    pub const ALL: [(&str, Join); 4] =
        [("AVERAGE", Join::Average), ("SUM", Join::Sum), ("MIN", Join::Min), ("MAX", Join::Max)];
}

/// What a leaf adds to a target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vote {
    pub target: u32,
    pub weight: f64,
}

/// Trees over rows of features.
#[derive(Clone, Debug)]
pub(crate) struct Forest {
    pub nodes: Vec<Split>,
    pub roots: Vec<Next>,
    /// The votes of all leaves, leaf by leaf.
    pub votes: Vec<Vote>,
    /// Where the votes of a leaf start; those of leaf `i` end where those of leaf `i + 1` start. One more than leaves.
    pub starts: Vec<u32>,
    /// Lists of members, each closed by a NaN or by the end.
    pub members: Vec<f64>,
    pub targets: usize,
    pub join: Join,
    /// Whether sums round to f32 after each tree.
    pub single: bool,
}

/// What the trees say of one row.
pub(crate) struct Said<'a> {
    /// One number per target; 0 for those that nobody voted for.
    pub scores: &'a mut [f64],
    /// Whether somebody voted for the target.
    pub voted: &'a mut [bool],
}

impl Forest {
    /// Whether all numbers are of nodes, leaves and targets there are.
    ///
    /// # Errors
    /// When one is not.
    pub fn check(&self) -> Result<(), OpError> {
        let leaves = self.starts.len().saturating_sub(1);
        let there = |n: &Next| match n {
            Next::Node(i) => (*i as usize) < self.nodes.len(),
            Next::Leaf(i) => (*i as usize) < leaves,
        };
        if !self.nodes.iter().all(|s| there(&s.yes) && there(&s.no)) || !self.roots.iter().all(there) {
            return Err(OpError::attribute("a tree refers to a node or leaf that does not exist"));
        }
        match self.votes.iter().find(|v| v.target as usize >= self.targets) {
            Some(v) => Err(OpError::attribute(format!("a leaf votes for target {} of {}", v.target, self.targets))),
            None => Ok(()),
        }
    }

    /// The trees as tensors that [`Forest::with_operands`] reads: of each node its feature, where it leads (a leaf as its
    /// complement), its mode and whether missing values hold; then the lists of this type.
    pub fn tensors(&self) -> [(&'static str, Tensor); 7] {
        let next = |n: &Next| match n {
            Next::Node(i) => *i as i32,
            Next::Leaf(i) => !(*i as i32),
        };
        let node = |s: &Split| {
            let mode = Mode::ALL.iter().position(|m| m.1 == s.mode).unwrap_or(0);
            [s.feature as i32, next(&s.yes), next(&s.no), mode as i32, i32::from(s.missing_is_true)]
        };
        [
            ("nodes", Tensor::vector(self.nodes.iter().flat_map(node).collect())),
            ("splits", Tensor::vector(self.nodes.iter().map(|s| s.value).collect())),
            ("roots", Tensor::vector(self.roots.iter().map(next).collect())),
            ("starts", Tensor::vector(self.starts.iter().map(|v| *v as i32).collect())),
            ("targets", Tensor::vector(self.votes.iter().map(|v| v.target as i32).collect())),
            ("weights", Tensor::vector(self.votes.iter().map(|v| v.weight).collect())),
            ("members", Tensor::vector(self.members.clone())),
        ]
    }

    /// The same for operators whose trees are their operands from the second on; of others, these trees.
    ///
    /// # Errors
    /// When the operands are no trees.
    pub fn with_operands(self, inputs: &[Option<View<'_>>]) -> Result<Forest, OpError> {
        fn list<T: Element>(inputs: &[Option<View<'_>>], i: usize) -> Result<Vec<T>, OpError> {
            operand(inputs, i)?
                .to_vec::<T>()
                .ok_or_else(|| OpError::type_(format!("operand {i} holds no part of trees")))
        }
        if inputs.len() < 2 {
            return Ok(self);
        }
        let next = |v: i32| if v < 0 { Next::Leaf(!v as u32) } else { Next::Node(v as u32) };
        let (nodes, splits, targets) = (list::<i32>(inputs, 1)?, list::<f64>(inputs, 2)?, list::<i32>(inputs, 5)?);
        let (starts, weights) = (list::<i32>(inputs, 4)?, list::<f64>(inputs, 6)?);
        let wrong = || OpError::value("the operands are no trees");
        let ascend = starts.is_sorted()
            && starts.first() == Some(&0)
            && starts.last().map(|s| *s as usize) == Some(targets.len());
        if nodes.len() != 5 * splits.len() || targets.len() != weights.len() || !ascend {
            return Err(wrong());
        }
        let node = |(n, value): (&[i32], f64)| -> Result<Split, OpError> {
            let mode = usize::try_from(n[3]).ok().and_then(|i| Mode::ALL.get(i)).ok_or_else(wrong)?.1;
            let (yes, no) = (next(n[1]), next(n[2]));
            Ok(Split { value, feature: n[0] as u32, yes, no, mode, missing_is_true: n[4] != 0 })
        };
        let votes = targets.into_iter().zip(weights).map(|(target, weight)| Vote { target: target as u32, weight });
        let forest = Forest {
            nodes: nodes.chunks_exact(5).zip(splits).map(node).collect::<Result<_, _>>()?,
            roots: list::<i32>(inputs, 3)?.into_iter().map(next).collect(),
            votes: votes.collect(),
            starts: starts.into_iter().map(|s| s as u32).collect(),
            members: list::<f64>(inputs, 7)?,
            ..self
        };
        forest.check()?;
        Ok(forest)
    }

    /// Gives `each` what the trees say of each row of `width` features; [`Forest::check`] has to be right.
    ///
    /// # Errors
    /// When a node asks for a feature that rows do not have, or a walk does not end.
    pub fn run(&self, x: &[f64], width: usize, mut each: impl FnMut(Said<'_>)) -> Result<(), OpError> {
        if x.is_empty() {
            return Ok(());
        }
        let mut scores = vec![0.0; self.targets];
        let mut voted = vec![false; self.targets];
        for row in x.chunks(width.max(1)) {
            scores.fill(0.0);
            voted.fill(false);
            for root in &self.roots {
                let leaf = self.walk(*root, row)?;
                for vote in &self.votes[self.starts[leaf] as usize..self.starts[leaf + 1] as usize] {
                    let target = vote.target as usize;
                    let first = !std::mem::replace(&mut voted[target], true);
                    let y = &mut scores[target];
                    *y = match self.join {
                        Join::Sum | Join::Average if self.single => f64::from((*y + vote.weight) as f32),
                        Join::Sum | Join::Average => *y + vote.weight,
                        _ if first => vote.weight,
                        Join::Min => y.min(vote.weight),
                        Join::Max => y.max(vote.weight),
                    };
                }
            }
            if self.join == Join::Average {
                scores.iter_mut().for_each(|y| *y /= self.roots.len().max(1) as f64);
            }
            each(Said { scores: &mut scores, voted: &mut voted });
        }
        Ok(())
    }

    fn walk(&self, root: Next, row: &[f64]) -> Result<usize, OpError> {
        let mut next = root;
        for _ in 0..=self.nodes.len() {
            match next {
                Next::Leaf(leaf) => return Ok(leaf as usize),
                Next::Node(i) => {
                    let split = &self.nodes[i as usize];
                    let x = row.get(split.feature as usize).ok_or_else(|| {
                        OpError::value(format!("a node asks for feature {} of {}", split.feature, row.len()))
                    })?;
                    next = if split.decide(*x, &self.members) { split.yes } else { split.no };
                }
            }
        }
        Err(OpError::attribute("a tree leads back to one of its nodes"))
    }
}

/// An index of an attribute as trees keep it; what is none is that of nothing.
pub(crate) fn index(v: i64) -> u32 {
    u32::try_from(v).unwrap_or(u32::MAX)
}
