//! SVMRegressor: a sum of kernels with support vectors, or (without support vectors) of the features themselves. With
//! `one_class`, only on which side of the border a row lies.

use super::binarizer::NUMBERS;
use super::scores::rows;
use super::svm::{COEFFICIENTS, KERNEL_PARAMS, KERNEL_TYPE, Kernel, POST_TRANSFORM, RHO, Rows, SUPPORT_VECTORS};
use crate::floats::narrow;
use crate::{AttrDef, EvalCx, OpDef, OpError, Param, TypeSet, operand};
use planc_tensor::{DType, Dim, Tensor, View};

/// The row of SVMRegressor.
pub const OP: OpDef = OpDef {
    name: "SVMRegressor",
    domain: "ai.onnx.ml",
    types: &[("T", NUMBERS), ("F", TypeSet::F32)],
    inputs: &[Param::req("X", "T")],
    outputs: &[Param::req("Y", "F")],
    attrs: &[
        COEFFICIENTS,
        KERNEL_PARAMS,
        KERNEL_TYPE,
        AttrDef::int("n_supports", 0),
        AttrDef::int("one_class", 0),
        // Of a single score, and without effect in onnxruntime, which such models are made for.
        POST_TRANSFORM,
        RHO,
        SUPPORT_VECTORS,
    ],
    infer: |cx| {
        Kernel::of(cx.attrs())?;
        let rows = rows(cx)?;
        cx.set_tensor(0, DType::F32, vec![rows, Dim::from(1i64)]);
        Ok(())
    },
    eval: Some(eval),
    ..OpDef::NEW
};

fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>]) -> Result<Vec<Tensor>, OpError> {
    let x = operand(inputs, 0)?;
    let coefficients = cx.attrs().floats("coefficients").unwrap_or_default();
    let rho = cx.attrs().floats("rho").unwrap_or_default();
    let rho = f64::from(*rho.first().ok_or_else(|| OpError::attribute("rho is empty"))?);
    let supports = usize::try_from(cx.int("n_supports")).unwrap_or(0);
    let rows = match supports {
        0 => Rows::new(x, coefficients, 1, Kernel::Linear)?,
        n => {
            let vectors = cx.attrs().floats("support_vectors").unwrap_or_default();
            if coefficients.len() != n {
                let what = format!("{} coefficients do not fit {n} support vectors", coefficients.len());
                return Err(OpError::attribute(what));
            }
            Rows::new(x, vectors, n, Kernel::of(cx.attrs())?)?
        }
    };
    let shape = [rows.count, 1];
    cx.reserve(DType::F64, &shape)?;
    let mut kernels = vec![0.0; supports.max(1)];
    let score = |row| {
        rows.compare(row, &mut kernels);
        let weighted = || kernels.iter().zip(coefficients).map(|(k, c)| k * f64::from(*c)).sum();
        let sum: f64 = if supports == 0 { kernels[0] } else { weighted() };
        sum + rho
    };
    let mut y: Vec<f64> = (0..rows.count).map(score).collect();
    if cx.flag("one_class") {
        y.iter_mut().for_each(|v| *v = if *v > 0.0 { 1.0 } else { -1.0 });
    }
    Ok(vec![narrow(DType::F32, &shape, y)?])
}
