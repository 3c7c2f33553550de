//! TreeEnsembleClassifier: decision trees whose leaves vote for classes. Gives labels and scores.
//!
//! The specification does not say what two classes mean that only one list of weights is for; this does what onnxruntime
//! does, for which such models are made.

use super::binarizer::NUMBERS;
use super::ensemble::{attributes, forest, numbers};
use super::forest::{Forest, Join, Said};
use super::in_operands;
use super::scores::{Labels, Pair, PostTransform, infer_classifier, matrix};
use crate::floats::{narrow, widen};
use crate::{AttrDef, AttrKind, EvalCx, InferCx, OpDef, OpError, Param, TypeSet, operand};
use planc_ir::Attrs;
use planc_tensor::{DType, Tensor, View};

const ATTRS: [AttrDef; 21] = attributes(&[
    AttrDef::optional("class_ids", AttrKind::Ints),
    AttrDef::optional("class_nodeids", AttrKind::Ints),
    AttrDef::optional("class_treeids", AttrKind::Ints),
    AttrDef::optional("class_weights", AttrKind::Floats),
    AttrDef::optional("class_weights_as_tensor", AttrKind::Tensor).since(3),
    AttrDef::optional("classlabels_int64s", AttrKind::Ints),
    AttrDef::optional("classlabels_strings", AttrKind::Strs),
]);

/// The element types of labels.
pub(super) const LABELS: TypeSet = TypeSet::of(&[DType::String, DType::I64]);

/// The row of TreeEnsembleClassifier.
pub const OP: OpDef = OpDef {
    name: "TreeEnsembleClassifier",
    domain: "ai.onnx.ml",
    types: &[("T1", NUMBERS), ("T2", LABELS), ("F", TypeSet::F32)],
    inputs: &[Param::req("X", "T1")],
    outputs: &[Param::req("Y", "T2"), Param::req("Z", "F")],
    attrs: &ATTRS,
    infer: |cx: &mut InferCx<'_>| {
        let trees = Trees::of(cx.attrs(), &[])?;
        let (dtype, classes) = (trees.labels.dtype(), trees.labels.len());
        infer_classifier(cx, dtype, classes)
    },
    eval: Some(eval),
    decompose: Some(|graph, id| {
        let attrs = graph.node(id).attrs.clone();
        in_operands::decompose(graph, id, Trees::of(&attrs, &[]).map(|t| t.forest))
    }),
    ..OpDef::NEW
};

struct Trees<'a> {
    forest: Forest,
    labels: Labels<'a>,
    base: Vec<f64>,
    transform: PostTransform,
    /// Whether there are two classes, and all weights are of one.
    one_sided: bool,
    /// Whether no weight is negative.
    positive: bool,
}

fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>]) -> Result<Vec<Tensor>, OpError> {
    let x = operand(inputs, 0)?;
    let mut trees = Trees::of(cx.attrs(), inputs)?;
    // Labels depend on ties, so sums have the type that other runtimes give them.
    trees.forest.single = x.dtype() != DType::F64;
    let (rows, width) = matrix(x.shape())?;
    let shape = [rows, trees.labels.len()];
    let mut scores = Vec::with_capacity(cx.reserve(DType::F64, &shape)?);
    let mut picks = Vec::with_capacity(rows);
    let multiple = trees.labels.len() > 2;
    trees.forest.run(&widen(x)?, width, |said| {
        picks.push(if multiple { trees.among_many(said, &mut scores) } else { trees.of_two(said, &mut scores) });
    })?;
    let picked = if multiple { trees.labels.pick(&picks) } else { trees.labels.pick_binary(&picks) };
    Ok(vec![picked?, narrow(DType::F32, &shape, scores)?])
}

impl<'a> Trees<'a> {
    fn of(attrs: &'a Attrs, inputs: &[Option<View<'_>>]) -> Result<Trees<'a>, OpError> {
        let labels = Labels::of(attrs, "classlabels_int64s");
        if labels.len() == 0 {
            return Err(OpError::attribute("there are no class labels"));
        }
        let forest = forest(attrs, "class", Some(labels.len()), Join::Sum)?.with_operands(inputs)?;
        let base = numbers(attrs, "base_values")?;
        if base.len() > 1 && base.len() != labels.len() {
            return Err(OpError::attribute(format!("{} base values for {} classes", base.len(), labels.len())));
        }
        let first = forest.votes.first().map(|v| v.target);
        Ok(Trees {
            one_sided: labels.len() == 2 && forest.votes.iter().all(|v| Some(v.target) == first),
            positive: forest.votes.iter().all(|v| v.weight >= 0.0),
            transform: PostTransform::named(attrs.str("post_transform").unwrap_or("NONE"))?,
            forest,
            labels,
            base,
        })
    }

    /// The number of the label of a row; its scores.
    fn among_many(&self, said: Said<'_>, out: &mut Vec<f64>) -> usize {
        for (i, b) in self.base.iter().enumerate() {
            said.scores[i] += b;
            said.voted[i] = true;
        }
        let candidates = (0..said.scores.len()).filter(|i| said.voted[*i]);
        let best = candidates.reduce(|a, b| if said.scores[b] > said.scores[a] { b } else { a });
        self.transform.run(said.scores);
        out.extend_from_slice(said.scores);
        best.unwrap_or(0)
    }

    /// As [`Self::among_many`], for at most two classes.
    fn of_two(&self, said: Said<'_>, out: &mut Vec<f64>) -> usize {
        let Said { scores, voted } = said;
        let (first, second) = (voted[0], voted.get(1) == Some(&true));
        // What nobody voted for has no base value either.
        let mut two = second;
        match self.base.as_slice() {
            [_, b] if second => {
                scores[1] = b + scores[0];
                scores[0] = if first { -scores[1] } else { 0.0 };
            }
            [a, rest @ ..] => {
                two |= !rest.is_empty();
                scores[0] += if first { *a } else { 0.0 };
            }
            [] => {}
        }
        let score = scores[usize::from(second)];
        let yes = score > if self.one_sided && self.positive { 0.5 } else { 0.0 };
        if scores.len() == 2 && !two {
            let pair = if self.positive { Pair::Probability } else { Pair::Distance };
            out.extend(pair.of(scores[0], self.transform));
        } else {
            self.transform.run(scores);
            out.extend_from_slice(scores);
        }
        usize::from(yes)
    }
}
