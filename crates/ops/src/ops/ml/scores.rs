//! What classifiers and regressors share after their sums: post_transform, labels, matrices of features.

use crate::{InferCx, OpError};
use planc_ir::Attrs;
use planc_tensor::{DType, Dim, Tensor};

/// What scores go through in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PostTransform {
    /// Nothing.
    None,
    /// Softmax of each row.
    Softmax,
    /// The logistic function.
    Logistic,
    /// Softmax of each row without its zeros, which stay.
    SoftmaxZero,
    /// The quantile function of the normal distribution.
    Probit,
}

impl PostTransform {
    /// The names, in the order of their numbers in TreeEnsemble.
    pub const ALL: [(&str, PostTransform); 5] = [
        ("NONE", PostTransform::None),
        ("SOFTMAX", PostTransform::Softmax),
        ("LOGISTIC", PostTransform::Logistic),
        ("SOFTMAX_ZERO", PostTransform::SoftmaxZero),
        ("PROBIT", PostTransform::Probit),
    ];

    /// The one of this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn named(name: &str) -> Result<PostTransform, OpError> {
        let found = PostTransform::ALL.iter().find(|(n, _)| *n == name).map(|t| t.1);
        found.ok_or_else(|| OpError::attribute(format!("post_transform is {name:?}")))
    }

    /// Transforms one row. A single score only knows PROBIT, as in onnxruntime: softmax of it would say nothing, and
    /// the logistic function belongs to the two scores that a classifier makes of it.
    pub fn run(self, row: &mut [f64]) {
        match self {
            PostTransform::Probit => row.iter_mut().for_each(|v| *v = probit(*v)),
            _ if row.len() < 2 => {}
            PostTransform::None => {}
            PostTransform::Logistic => row.iter_mut().for_each(|v| *v = logistic(*v)),
            PostTransform::Softmax | PostTransform::SoftmaxZero => {
                let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let keeps = |v: f64| self == PostTransform::SoftmaxZero && v.abs() <= 1e-7;
                let mut sum = 0.0;
                for v in row.iter_mut() {
                    if keeps(*v) {
                        *v *= libm::exp(-largest);
                    } else {
                        *v = libm::exp(*v - largest);
                        sum += *v;
                    }
                }
                row.iter_mut().for_each(|v| *v /= sum);
            }
        }
    }
}

/// 1 / (1 + exp(-v)).
pub(crate) fn logistic(v: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-v))
}

/// sqrt(2) erfinv(2 v - 1), with the approximation that onnxruntime and the reference implementation of ONNX have in
/// common: S. Winitzki, "A handy approximation for the error function and its inverse", 2008, with a = 0.147.
fn probit(v: f64) -> f64 {
    const A: f64 = 0.147;
    let x = 2.0 * v - 1.0;
    let log = libm::log((1.0 - x) * (1.0 + x));
    let half = 2.0 / (std::f64::consts::PI * A) + 0.5 * log;
    let erfinv = (-half + (half * half - log / A).sqrt()).sqrt();
    std::f64::consts::SQRT_2 * if x < 0.0 { -erfinv } else { erfinv }
}

/// What one score of two classes becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pair {
    /// The probability of the second class: 1 - s and s.
    Probability,
    /// A distance from the border: -s and s.
    Distance,
}

impl Pair {
    /// The scores of the two classes. The logistic function takes the score for a distance, whatever it is.
    pub fn of(self, score: f64, transform: PostTransform) -> [f64; 2] {
        match (self, transform) {
            (_, PostTransform::Probit) => [probit(1.0 - score), probit(score)],
            (_, PostTransform::Logistic) => [logistic(-score), logistic(score)],
            (Pair::Probability, _) => [1.0 - score, score],
            (Pair::Distance, _) => [-score, score],
        }
    }
}

/// The names of classes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Labels<'a> {
    Ints(&'a [i64]),
    Texts(&'a [String]),
}

impl<'a> Labels<'a> {
    /// The labels of a node: texts if it has some, else the integers that the attribute `ints` holds.
    pub fn of(attrs: &'a Attrs, ints: &str) -> Labels<'a> {
        match attrs.strs("classlabels_strings").unwrap_or_default() {
            [] => Labels::Ints(attrs.ints(ints).unwrap_or_default()),
            texts => Labels::Texts(texts),
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Labels::Ints(v) => v.len(),
            Labels::Texts(v) => v.len(),
        }
    }

    pub fn dtype(&self) -> DType {
        match self {
            Labels::Ints(_) => DType::I64,
            Labels::Texts(_) => DType::String,
        }
    }

    /// A vector of the labels with these numbers.
    ///
    /// # Errors
    /// When there are fewer labels.
    pub fn pick(&self, picks: &[usize]) -> Result<Tensor, OpError> {
        let few = || OpError::attribute(format!("there are {} labels, too few for the classes", self.len()));
        Ok(match self {
            Labels::Ints(v) => {
                Tensor::vector(picks.iter().map(|i| v.get(*i).copied()).collect::<Option<Vec<i64>>>().ok_or_else(few)?)
            }
            Labels::Texts(v) => {
                let texts = picks.iter().map(|i| v.get(*i).cloned()).collect::<Option<Vec<_>>>().ok_or_else(few)?;
                Tensor::from_strings([picks.len()], texts)?
            }
        })
    }

    /// A vector of labels where a score alone says yes or no: of the labels if there are two, else 1 and 0.
    ///
    /// # Errors
    /// None that can happen.
    pub fn pick_binary(&self, picks: &[usize]) -> Result<Tensor, OpError> {
        if self.len() == 2 {
            return self.pick(picks);
        }
        match self {
            Labels::Ints(_) => Labels::Ints(&[0, 1]).pick(picks),
            Labels::Texts(_) => Labels::Texts(&["0".to_owned(), "1".to_owned()]).pick(picks),
        }
    }
}

/// The position of the largest score, of equal ones the first; 0 without scores.
pub(crate) fn largest(scores: &[f64]) -> usize {
    (1..scores.len()).fold(0, |best, i| if scores[i] > scores[best] { i } else { best })
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

/// The number of rows of operand 0, a matrix or a vector.
///
/// # Errors
/// When it is no tensor, or of another rank.
pub(crate) fn rows(cx: &InferCx<'_>) -> Result<Dim, OpError> {
    match cx.shape(0)? {
        Some([n, _]) => Ok(n.clone()),
        Some([_]) => Ok(Dim::from(1i64)),
        Some(s) => Err(OpError::shape(format!("X has {} axes, it is not a matrix of features", s.len()))),
        None => Ok(cx.fresh(0, 0)),
    }
}

/// Sets the results of a classifier: labels, and `width` scores a row.
///
/// # Errors
/// As [`rows`], and without labels.
pub(crate) fn infer_classifier(cx: &mut InferCx<'_>, labels: DType, width: usize) -> Result<(), OpError> {
    let rows = rows(cx)?;
    cx.set_tensor(0, labels, vec![rows.clone()]);
    cx.set_tensor(1, DType::F32, vec![rows, Dim::from(width)]);
    Ok(())
}
