//! SVMClassifier: each pair of classes is told apart by a sum of kernels with support vectors, and votes decide; or
//! (without support vectors) each class has a linear score. Gives labels and scores: probabilities where the model has
//! been calibrated, else the scores of the pairs.
//!
//! The specification leaves the order of pairs, and two classes, open; this does what onnxruntime and libsvm do.

use super::binarizer::NUMBERS;
use super::scores::{Labels, Pair, PostTransform, infer_classifier, largest, logistic};
use super::svm::{COEFFICIENTS, KERNEL_PARAMS, KERNEL_TYPE, Kernel, POST_TRANSFORM, RHO, Rows, SUPPORT_VECTORS};
use super::tree_ensemble_classifier::LABELS;
use crate::floats::narrow;
use crate::{AttrDef, AttrKind, EvalCx, OpDef, OpError, Param, TypeSet, operand};
use planc_ir::Attrs;
use planc_tensor::{DType, Tensor, View};

/// The row of SVMClassifier.
pub const OP: OpDef = OpDef {
    name: "SVMClassifier",
    domain: "ai.onnx.ml",
    types: &[("T1", NUMBERS), ("T2", LABELS), ("F", TypeSet::F32)],
    inputs: &[Param::req("X", "T1")],
    outputs: &[Param::req("Y", "T2"), Param::req("Z", "F")],
    attrs: &[
        AttrDef::optional("classlabels_ints", AttrKind::Ints),
        AttrDef::optional("classlabels_strings", AttrKind::Strs),
        COEFFICIENTS,
        KERNEL_PARAMS,
        KERNEL_TYPE,
        POST_TRANSFORM,
        AttrDef::optional("prob_a", AttrKind::Floats),
        AttrDef::optional("prob_b", AttrKind::Floats),
        RHO,
        SUPPORT_VECTORS,
        AttrDef::optional("vectors_per_class", AttrKind::Ints),
    ],
    infer: |cx| {
        let machine = Machine::of(cx.attrs())?;
        infer_classifier(cx, machine.labels.dtype(), machine.width())
    },
    eval: Some(eval),
    ..OpDef::NEW
};

struct Machine<'a> {
    labels: Labels<'a>,
    coefficients: &'a [f32],
    rho: &'a [f32],
    /// Of each pair, how a score becomes a probability; empty where the model has no probabilities.
    sigmoids: Vec<(f64, f64)>,
    /// Where the support vectors of each class start, and their number; empty for a linear model.
    starts: Vec<usize>,
    transform: PostTransform,
}

impl<'a> Machine<'a> {
    fn of(attrs: &'a Attrs) -> Result<Machine<'a>, OpError> {
        let labels = Labels::of(attrs, "classlabels_ints");
        let classes = labels.len();
        let floats = |name: &str| attrs.floats(name).unwrap_or_default();
        let (coefficients, rho) = (floats("coefficients"), floats("rho"));
        let (a, b) = (floats("prob_a"), floats("prob_b"));
        if classes < 2 {
            return Err(OpError::attribute(format!("there are {classes} class labels, a classifier needs two")));
        }
        let mut starts = vec![0usize];
        for n in attrs.ints("vectors_per_class").unwrap_or_default() {
            let n = usize::try_from(*n).map_err(|_| OpError::attribute("vectors_per_class has a negative number"))?;
            starts.push(starts[starts.len() - 1].saturating_add(n));
        }
        let vectors = starts[starts.len() - 1];
        if vectors == 0 {
            starts.clear();
        } else if starts.len() != classes + 1 {
            let what = format!("vectors_per_class has {} numbers for {classes} classes", starts.len() - 1);
            return Err(OpError::attribute(what));
        }
        let pairs = classes.saturating_mul(classes - 1) / 2;
        let fits = match starts.is_empty() {
            true => !rho.is_empty(),
            false => {
                coefficients.len() >= vectors.saturating_mul(classes - 1)
                    && rho.len() >= pairs
                    && (a.is_empty() || a.len() >= pairs)
            }
        };
        if a.len() != b.len() || !fits {
            return Err(OpError::attribute(format!(
                "{} coefficients, {} rho, {} prob_a and {} prob_b do not fit {classes} classes and {vectors} support vectors",
                coefficients.len(),
                rho.len(),
                a.len(),
                b.len()
            )));
        }
        let sigmoids = a.iter().zip(b).map(|(a, b)| (f64::from(*a), f64::from(*b))).take(pairs).collect();
        let transform = PostTransform::named(attrs.str("post_transform").unwrap_or("NONE"))?;
        Kernel::of(attrs)?;
        Ok(Machine { labels, coefficients, rho, sigmoids, starts, transform })
    }

    /// Scores of a row.
    fn width(&self) -> usize {
        let classes = self.labels.len();
        if self.starts.is_empty() || !self.sigmoids.is_empty() || classes == 2 {
            classes
        } else {
            classes * (classes - 1) / 2
        }
    }

    /// The score of each pair of classes, in the order of the classes, from the kernels of a row; whom each votes for.
    fn pairs(&self, kernels: &[f64], scores: &mut Vec<f64>, votes: &mut [f64]) {
        scores.clear();
        votes.fill(0.0);
        let classes = votes.len();
        // Row `r` of the coefficients tells the vectors of a class from the r-th of the other classes.
        let part = |row: usize, class: usize| -> f64 {
            let own = self.starts[class]..self.starts[class + 1];
            let coefficients = &self.coefficients[row * kernels.len()..][own.clone()];
            coefficients.iter().zip(&kernels[own]).map(|(c, k)| f64::from(*c) * k).sum()
        };
        for i in 0..classes {
            for j in i + 1..classes {
                let score = part(j - 1, i) + part(i, j) + f64::from(self.rho[scores.len()]);
                scores.push(score);
                votes[if score > 0.0 { i } else { j }] += 1.0;
            }
        }
    }
}

fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>]) -> Result<Vec<Tensor>, OpError> {
    let x = operand(inputs, 0)?;
    let machine = Machine::of(cx.attrs())?;
    let (classes, width) = (machine.labels.len(), machine.width());
    let vectors = machine.starts.last().copied();
    let rows = match vectors {
        None => Rows::new(x, machine.coefficients, classes, Kernel::Linear)?,
        Some(n) => {
            let vectors = cx.attrs().floats("support_vectors").unwrap_or_default();
            Rows::new(x, vectors, n, Kernel::of(cx.attrs())?)?
        }
    };
    let shape = [rows.count, width];
    let mut all = Vec::with_capacity(cx.reserve(DType::F64, &shape)?);
    let mut picks = Vec::with_capacity(rows.count);
    let mut kernels = vec![0.0; vectors.unwrap_or(classes)];
    let (mut scores, mut votes) = (Vec::with_capacity(width), vec![0.0; classes]);
    let mut coupling = Coupling::new(classes);
    for row in 0..rows.count {
        rows.compare(row, &mut kernels);
        if vectors.is_none() {
            scores.clear();
            scores.extend(kernels.iter().map(|k| k + f64::from(machine.rho[0])));
            picks.push(linear_pick(&scores, machine.coefficients));
        } else {
            machine.pairs(&kernels, &mut scores, &mut votes);
            picks.push(largest(&votes));
            if !machine.sigmoids.is_empty() {
                let sure = |(s, (a, b)): (&f64, &(f64, f64))| logistic(-(s * a + b)).clamp(1e-7, 1.0 - 1e-7);
                coupling.run(scores.iter().zip(&machine.sigmoids).map(sure));
                scores.clear();
                scores.extend_from_slice(&coupling.p);
            } else if classes == 2 {
                let pair = if machine.transform == PostTransform::None { Pair::Distance } else { Pair::Probability };
                all.extend(pair.of(scores[0], machine.transform));
                continue;
            }
        }
        machine.transform.run(&mut scores);
        all.extend_from_slice(&scores);
    }
    Ok(vec![machine.labels.pick(&picks)?, narrow(DType::F32, &shape, all)?])
}

/// The class that linear scores say: of two classes, the second where the larger score is above the border.
fn linear_pick(scores: &[f64], coefficients: &[f32]) -> usize {
    let best = largest(scores);
    if scores.len() != 2 {
        return best;
    }
    let positive = coefficients.iter().all(|c| *c >= 0.0);
    let beyond = if positive { scores[best] >= 0.5 } else { scores[best] > 0.0 };
    if beyond { 1 } else { best }
}

/// Probabilities of classes from those of pairs: T.-F. Wu, C.-J. Lin, R. C. Weng, "Probability estimates for multi-class
/// classification by pairwise coupling", JMLR 5, 2004, the second method with the iteration of its algorithm 2, stopped as
/// libsvm stops it.
struct Coupling {
    /// The probabilities.
    p: Vec<f64>,
    pairs: Vec<f64>,
    q: Vec<f64>,
    qp: Vec<f64>,
}

impl Coupling {
    /// Most rounds.
    const ROUNDS: usize = 100;

    fn new(classes: usize) -> Coupling {
        let square = vec![0.0; classes * classes];
        Coupling { p: vec![0.0; classes], pairs: square.clone(), q: square, qp: vec![0.0; classes] }
    }

    /// Sets `p` from the probability of class i among i and j, for i < j in the order of the pairs.
    fn run(&mut self, pairs: impl IntoIterator<Item = f64>) {
        let n = self.p.len();
        let Coupling { p, pairs: r, q, qp } = self;
        let order = (0..n).flat_map(|i| (i + 1..n).map(move |j| (i, j)));
        for ((i, j), sure) in order.zip(pairs) {
            r[i * n + j] = sure;
            r[j * n + i] = 1.0 - sure;
        }
        for i in 0..n {
            for j in 0..n {
                q[i * n + j] = if i == j {
                    (0..n).filter(|k| *k != i).map(|k| r[k * n + i] * r[k * n + i]).sum()
                } else {
                    -r[j * n + i] * r[i * n + j]
                };
            }
        }
        p.fill(1.0 / n as f64);
        for _ in 0..Self::ROUNDS {
            for i in 0..n {
                qp[i] = (0..n).map(|j| q[i * n + j] * p[j]).sum();
            }
            let mut pqp: f64 = p.iter().zip(qp.iter()).map(|(p, qp)| p * qp).sum();
            if qp.iter().all(|v| (v - pqp).abs() < 0.005 / n as f64) {
                break;
            }
            for i in 0..n {
                let step = (pqp - qp[i]) / q[i * n + i];
                let scale = 1.0 + step;
                p[i] += step;
                pqp = (pqp + step * (step * q[i * n + i] + 2.0 * qp[i])) / (scale * scale);
                for j in 0..n {
                    qp[j] = (qp[j] + step * q[i * n + j]) / scale;
                    p[j] /= scale;
                }
            }
        }
    }
}
