//! Support vector machines: kernels between rows of features and support vectors.

use super::scores::matrix;
use crate::floats::widen;
use crate::{AttrDef, AttrKind, OpError};
use planc_ir::Attrs;
use planc_tensor::View;

/// The attributes that classifier and regressor share.
pub(crate) const COEFFICIENTS: AttrDef = AttrDef::required("coefficients", AttrKind::Floats);
pub(crate) const KERNEL_PARAMS: AttrDef = AttrDef::optional("kernel_params", AttrKind::Floats);
pub(crate) const KERNEL_TYPE: AttrDef = AttrDef::str("kernel_type", "LINEAR");
pub(crate) const POST_TRANSFORM: AttrDef = AttrDef::str("post_transform", "NONE");
pub(crate) const RHO: AttrDef = AttrDef::required("rho", AttrKind::Floats);
pub(crate) const SUPPORT_VECTORS: AttrDef = AttrDef::optional("support_vectors", AttrKind::Floats);

/// A kernel function of two rows of features.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kernel {
    /// a b
    Linear,
    /// (gamma a b + coef0)^degree
    Poly { gamma: f64, coef0: f64, degree: f64 },
    /// exp(-gamma |a - b|^2)
    Rbf { gamma: f64 },
    /// tanh(gamma a b + coef0)
    Sigmoid { gamma: f64, coef0: f64 },
}

impl Kernel {
    /// The kernel that the attributes name.
    ///
    /// # Errors
    /// For names that are none.
    pub fn of(attrs: &Attrs) -> Result<Kernel, OpError> {
        let params = attrs.floats("kernel_params").unwrap_or_default();
        let param = |i: usize| f64::from(*params.get(i).unwrap_or(&0.0));
        let (gamma, coef0, degree) = (param(0), param(1), param(2));
        Ok(match attrs.str("kernel_type").unwrap_or("LINEAR") {
            "LINEAR" => Kernel::Linear,
            "POLY" => Kernel::Poly { gamma, coef0, degree },
            "RBF" => Kernel::Rbf { gamma },
            "SIGMOID" => Kernel::Sigmoid { gamma, coef0 },
            other => return Err(OpError::attribute(format!("kernel_type is {other:?}"))),
        })
    }

    fn apply(self, a: &[f64], b: &[f64]) -> f64 {
        let dot = || a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        match self {
            Kernel::Linear => dot(),
            Kernel::Poly { gamma, coef0, degree } => libm::pow(gamma * dot() + coef0, degree),
            Kernel::Rbf { gamma } => libm::exp(-gamma * a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>()),
            Kernel::Sigmoid { gamma, coef0 } => libm::tanh(gamma * dot() + coef0),
        }
    }
}

/// Rows of features, and vectors that each is compared with.
pub(crate) struct Rows {
    x: Vec<f64>,
    vectors: Vec<f64>,
    kernel: Kernel,
    /// Number of rows.
    pub count: usize,
    width: usize,
}

impl Rows {
    /// The rows of `x`, and `vectors`, `count` of them.
    ///
    /// # Errors
    /// When x is no matrix of numbers, or the vectors are not as wide as it.
    pub fn new(x: View<'_>, vectors: &[f32], count: usize, kernel: Kernel) -> Result<Rows, OpError> {
        let (rows, width) = matrix(x.shape())?;
        if count.checked_mul(width) != Some(vectors.len()) {
            let what = format!("{} numbers are not {count} vectors of {width} features", vectors.len());
            return Err(OpError::attribute(what));
        }
        let vectors = vectors.iter().map(|v| f64::from(*v)).collect();
        Ok(Rows { x: widen(x)?, vectors, kernel, count: rows, width })
    }

    /// The kernel function of row `row` and each of the vectors.
    pub fn compare(&self, row: usize, out: &mut [f64]) {
        let x = &self.x[row * self.width..][..self.width];
        for (i, k) in out.iter_mut().enumerate() {
            *k = self.kernel.apply(x, &self.vectors[i * self.width..][..self.width]);
        }
    }
}
