//! com.microsoft.DynamicQuantizeLSTM: an LSTM with 8-bit weights `[directions, in, 4 * hidden]`; data and state are
//! rounded to 8 bits with scales taken from their values before they meet the weights.

use crate::ops::rnn::recurrent::{ATTRS, Run, infer, layer};
use crate::{AttrDef, EvalCx, OpDef, OpError, Param, TypeSet, operand};
use planc_kir::Cell;
use planc_tensor::{DType, Tensor, View};

/// The row of DynamicQuantizeLSTM.
pub const OP: OpDef = OpDef {
    name: "DynamicQuantizeLSTM",
    domain: "com.microsoft",
    types: &[("T", TypeSet::F32), ("T1", TypeSet::of(&[DType::I32])), ("T2", TypeSet::BYTE)],
    inputs: &[
        Param::req("X", "T"),
        Param::req("W", "T2"),
        Param::req("R", "T2"),
        Param::opt("B", "T"),
        Param::opt("sequence_lens", "T1"),
        Param::opt("initial_h", "T"),
        Param::opt("initial_c", "T"),
        Param::opt("P", "T"),
        Param::req("W_scale", "T"),
        Param::req("W_zero_point", "T2"),
        Param::req("R_scale", "T"),
        Param::req("R_zero_point", "T2"),
    ],
    outputs: &[Param::opt("Y", "T"), Param::opt("Y_h", "T"), Param::opt("Y_c", "T")],
    attrs: &[AttrDef::int("input_forget", 0), ATTRS[0], ATTRS[1], ATTRS[2], ATTRS[3], ATTRS[4], ATTRS[5]],
    infer: |cx| infer(cx, Cell::Lstm, true),
    eval: Some(eval),
    ..OpDef::NEW
};

fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>]) -> Result<Vec<Tensor>, OpError> {
    let x = operand(inputs, 0)?;
    let w = dequantized(operand(inputs, 1)?, operand(inputs, 8)?, operand(inputs, 9)?)?;
    let r = dequantized(operand(inputs, 2)?, operand(inputs, 10)?, operand(inputs, 11)?)?;
    let layer = layer(cx.attrs(), Cell::Lstm, operand(inputs, 2)?.shape()[1])?;
    let mut run = Run::new(layer, x, [w, r], |i| inputs.get(i).copied().flatten())?;
    round(&mut run.x);
    run.round = round;
    run.results(cx, DType::F32)
}

/// Weights `[d, in, rows]` as numbers, transposed to `[d, rows, in]`. Scale and zero point are `[d]` or `[d, rows]`.
fn dequantized(w: View<'_>, scale: View<'_>, zero: View<'_>) -> Result<Vec<f64>, OpError> {
    let [d, k, rows] = w.shape() else { return Err(OpError::shape("the weights' rank is not 3")) };
    let (v, scale) = (w.to_i64().unwrap_or_default(), crate::floats::widen(scale)?);
    let zero = zero.to_i64().unwrap_or_default();
    let per_row = scale.len() == d * rows;
    if (!per_row && scale.len() != *d) || zero.len() != scale.len() {
        return Err(OpError::shape(format!("{} scales and {} zero points do not fit", scale.len(), zero.len())));
    }
    let mut out = Vec::with_capacity(v.len());
    for i in 0..*d {
        for row in 0..*rows {
            let p = if per_row { i * rows + row } else { i };
            out.extend((0..*k).map(|c| (v[(i * k + c) * rows + row] - zero[p]) as f64 * scale[p]));
        }
    }
    Ok(out)
}

/// Rounds values as DynamicQuantizeLinear does: to 255 steps of the range that they and 0 span.
fn round(v: &mut [f64]) {
    let low = v.iter().fold(0f32, |a, b| a.min(*b as f32));
    let high = v.iter().fold(0f32, |a, b| a.max(*b as f32));
    let scale = if high == low { 1.0 } else { (high - low) / 255.0 };
    let zero = (-low / scale).clamp(0.0, 255.0).round_ties_even();
    for v in v {
        let q = ((*v as f32 / scale).round_ties_even() + zero).clamp(0.0, 255.0);
        *v = f64::from((q - zero) * scale);
    }
}
