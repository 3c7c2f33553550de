//! Decision trees as the tree ensembles of all versions describe them: walking rows to leaves, and joining what the leaves
//! say.
//!
//! Guarantees: walking ends, whatever the numbers say, because no tree is deeper than it has nodes.

use crate::OpError;

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
    /// x differs from split.
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
    Node(usize),
    /// To a leaf.
    Leaf(usize),
}

/// A node that decides.
#[derive(Clone, Debug)]
pub(crate) struct Split {
    pub mode: Mode,
    pub feature: usize,
    pub value: f64,
    pub members: Vec<f64>,
    pub missing_is_true: bool,
    pub yes: Next,
    pub no: Next,
}

impl Split {
    fn decide(&self, x: f64) -> bool {
        let holds = match self.mode {
            Mode::LessOrEqual => x <= self.value,
            Mode::Less => x < self.value,
            Mode::GreaterOrEqual => x >= self.value,
            Mode::Greater => x > self.value,
            Mode::Equal => x == self.value,
            Mode::NotEqual => x != self.value && !x.is_nan(),
            Mode::Member => self.members.contains(&x),
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

/// Trees over rows of features.
#[derive(Clone, Debug)]
pub(crate) struct Forest {
    pub nodes: Vec<Split>,
    pub roots: Vec<Next>,
    /// Target and weight of each vote of each leaf.
    pub leaves: Vec<Vec<(usize, f64)>>,
    pub targets: usize,
    pub join: Join,
}

impl Forest {
    /// Whether all numbers are of nodes, leaves and targets there are.
    ///
    /// # Errors
    /// When one is not.
    pub fn check(&self) -> Result<(), OpError> {
        let there = |n: &Next| match n {
            Next::Node(i) => *i < self.nodes.len(),
            Next::Leaf(i) => *i < self.leaves.len(),
        };
        let branches = self.nodes.iter().flat_map(|s| [&s.yes, &s.no]);
        if !branches.chain(&self.roots).all(there) {
            return Err(OpError::attribute("a tree refers to a node or leaf that does not exist"));
        }
        match self.leaves.iter().flatten().find(|(t, _)| *t >= self.targets) {
            Some((t, _)) => Err(OpError::attribute(format!("a leaf votes for target {t} of {}", self.targets))),
            None => Ok(()),
        }
    }

    /// What the trees say of each row of `width` features: `targets` numbers a row.
    ///
    /// # Errors
    /// When a node asks for a feature that rows do not have, or a walk does not end.
    pub fn run(&self, x: &[f64], width: usize) -> Result<Vec<f64>, OpError> {
        let rows = x.len().checked_div(width).unwrap_or(0);
        let start = match self.join {
            Join::Min => f64::INFINITY,
            Join::Max => f64::NEG_INFINITY,
            Join::Sum | Join::Average => 0.0,
        };
        let mut out = vec![start; rows * self.targets];
        for (row, y) in x.chunks(width.max(1)).zip(out.chunks_mut(self.targets.max(1))) {
            for root in &self.roots {
                for (target, weight) in &self.leaves[self.walk(*root, row)?] {
                    let y = &mut y[*target];
                    match self.join {
                        Join::Sum => *y += weight,
                        Join::Average => *y += weight / self.roots.len() as f64,
                        Join::Min => *y = y.min(*weight),
                        Join::Max => *y = y.max(*weight),
                    }
                }
            }
        }
        // Targets that nobody voted for.
        out.iter_mut().filter(|v| v.is_infinite() && start != 0.0).for_each(|v| *v = 0.0);
        Ok(out)
    }

    fn walk(&self, root: Next, row: &[f64]) -> Result<usize, OpError> {
        let mut next = root;
        for _ in 0..=self.nodes.len() {
            match next {
                Next::Leaf(leaf) => return Ok(leaf),
                Next::Node(i) => {
                    let split = &self.nodes[i];
                    let x = row.get(split.feature).ok_or_else(|| {
                        OpError::value(format!("a node asks for feature {} of {}", split.feature, row.len()))
                    })?;
                    next = if split.decide(*x) { split.yes } else { split.no };
                }
            }
        }
        Err(OpError::attribute("a tree leads back to one of its nodes"))
    }
}

/// What the scores go through in the end.
///
/// # Errors
/// For PROBIT, which no library gives for trees, and for names that are none.
pub(crate) fn transform(name: &str, scores: &mut [f64], width: usize) -> Result<(), OpError> {
    for row in scores.chunks_mut(width.max(1)) {
        let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        match name {
            "NONE" => {}
            "LOGISTIC" => row.iter_mut().for_each(|v| *v = 1.0 / (1.0 + libm::exp(-*v))),
            "SOFTMAX" | "SOFTMAX_ZERO" => {
                // Of SOFTMAX_ZERO, scores of 0 stay 0.
                let keeps = |v: f64| name == "SOFTMAX_ZERO" && v == 0.0;
                row.iter_mut().for_each(|v| *v = if keeps(*v) { 0.0 } else { libm::exp(*v - largest) });
                let sum: f64 = row.iter().sum();
                row.iter_mut().for_each(|v| *v /= if sum == 0.0 { 1.0 } else { sum });
            }
            other => return Err(OpError::unsupported(format!("post_transform {other:?}"))),
        }
    }
    Ok(())
}

/// A matrix's rows and columns; a vector is one row.
///
/// # Errors
/// For other ranks.
pub(crate) fn matrix(shape: &[usize]) -> Result<(usize, usize), OpError> {
    match shape {
        [n, width] => Ok((*n, *width)),
        [width] => Ok((1, *width)),
        s => Err(OpError::shape(format!("{s:?} is not a matrix of features"))),
    }
}
