//! MelWeightMatrix: triangular filters, evenly spaced on the mel scale 2595 log10(1 + f / 700), over the bins of a
//! one-sided transform.

use crate::floats::{narrow, widen};
use crate::ops::signal::dft::{known_scalar, scalar};
use crate::ops::signal::window_function::output_datatype;
use crate::{AttrDef, EvalCx, InferCx, OpDef, OpError, Param, TypeSet, operand};
use planc_tensor::{DType, Dim, Tensor, View};

/// The row of MelWeightMatrix.
pub const OP: OpDef = OpDef {
    name: "MelWeightMatrix",
    since: 17,
    types: &[("T1", TypeSet::INDEX), ("T2", TypeSet::FLOAT), ("T3", TypeSet::NUMERIC)],
    inputs: &[
        Param::req("num_mel_bins", "T1"),
        Param::req("dft_length", "T1"),
        Param::req("sample_rate", "T1"),
        Param::req("lower_edge_hertz", "T2"),
        Param::req("upper_edge_hertz", "T2"),
    ],
    outputs: &[Param::req("output", "T3")],
    attrs: &[AttrDef::int("output_datatype", 1)],
    infer,
    eval: Some(eval),
    ..OpDef::NEW
};

fn infer(cx: &mut InferCx<'_>) -> Result<(), OpError> {
    let dtype = output_datatype(cx.int("output_datatype"))?;
    let bins = known_scalar(cx, 1).map(|n| n.floor_div(&Dim::from(2i64)) + Dim::from(1i64));
    let bins = bins.unwrap_or_else(|| cx.fresh(0, 0));
    let mels = known_scalar(cx, 0).unwrap_or_else(|| cx.fresh(0, 1));
    cx.set_tensor(0, dtype, vec![bins, mels]);
    Ok(())
}

fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>]) -> Result<Vec<Tensor>, OpError> {
    let integer = |i: usize, what: &str| {
        let v = scalar(operand(inputs, i)?, what)?;
        usize::try_from(v).ok().filter(|v| *v < 1 << 31).ok_or_else(|| OpError::value(format!("{what} is {v}")))
    };
    let (mels, n, rate) = (integer(0, "num_mel_bins")?, integer(1, "dft_length")?, integer(2, "sample_rate")?);
    let hertz = |i: usize| {
        let v = widen(operand(inputs, i)?)?;
        v.first()
            .copied()
            .filter(|f| f.is_finite() && *f > -700.0)
            .ok_or_else(|| OpError::value("an edge is no frequency"))
    };
    if rate == 0 {
        return Err(OpError::value("sample_rate is 0"));
    }
    let bins = n / 2 + 1;
    let total = cx.reserve(DType::F64, &[bins, mels])?;
    let mel = |f: f64| 2595.0 * (f / 700.0).ln_1p() / std::f64::consts::LN_10;
    let (low, high) = (mel(hertz(3)?), mel(hertz(4)?));
    let edge = |i: usize| {
        let m = low + i as f64 * (high - low) / (mels + 2) as f64;
        let f = 700.0 * (m / 2595.0 * std::f64::consts::LN_10).exp_m1();
        ((n + 1) as f64 * f / rate as f64).floor() as i64
    };
    let mut out = vec![0.0; total];
    let mut set = |j: i64, i: usize, v: f64| match usize::try_from(j) {
        Ok(j) if j < bins => {
            out[j * mels + i] = v;
            Ok(())
        }
        _ => Err(OpError::value(format!("a filter reaches bin {j} of {bins}"))),
    };
    for i in 0..mels {
        let (left, centre, right) = (edge(i), edge(i + 1), edge(i + 2));
        if left == centre {
            set(centre, i, 1.0)?;
        }
        for j in left..=centre {
            if left != centre {
                set(j, i, (j - left) as f64 / (centre - left) as f64)?;
            }
        }
        for j in centre..right {
            set(j, i, (right - j) as f64 / (right - centre) as f64)?;
        }
    }
    Ok(vec![narrow(cx.output_dtype(0)?, &[bins, mels], out)?])
}
