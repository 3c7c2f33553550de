//! Batched matrix products, with weights in f32 or fewer bits.

use super::terms::{Places, Terms};
use super::{Cx, Form, Operand, Output};
use crate::gemm::{
    Dims, Mat, Narrow, gemm, gemm_narrow, gemm_narrow_scratch, gemm_scratch, gemm_unpacked, gemm_unpacked_scratch,
    packed_len,
};
use planc_kir::{Expr, Gemm};
use planc_tensor::{DType, Layout, broadcast_strides};

/// How weights of a form in fewer bits than f32 are stored.
pub(super) fn narrow(form: Form) -> Option<Narrow> {
    match form {
        (DType::F16, Layout::Panels16) => Some(Narrow::F16),
        (DType::BF16, Layout::Panels16) => Some(Narrow::Bf16),
        (DType::I8, Layout::ScaledPanels16) => Some(Narrow::I8),
        (DType::I4, Layout::GroupPanels16) => Some(Narrow::I4),
        _ => None,
    }
}

/// The second operand as it is stored.
enum Matrix<'a> {
    Rows(&'a [f32]),
    Panels(&'a [f32]),
    Narrow(Narrow, &'a [u32]),
}

/// `[a, b, bias?, sides...] -> [out]`.
pub(super) fn run<'a>(
    cx: &mut Cx<'_>,
    spec: &Gemm,
    epilogue: Option<&'a Expr>,
    inputs: &[Option<Operand<'a>>],
    y: &mut Output<'_>,
) -> Result<(), String> {
    let sides_from = inputs.len() - epilogue.map_or(0, |e| e.args().len() - 1);
    let sides = inputs[sides_from..].iter().flatten().copied().collect();
    let operand = |i: usize| inputs[..sides_from].get(i).copied().flatten();
    let (Some(a), Some(b)) = (operand(0), operand(1)) else { return Err("an operand is missing".into()) };
    let bias = operand(2);
    let shapes = || format!("{:?} times {:?} does not give {:?}", a.shape, b.shape, y.shape);
    let (ra, rb, ry) = (a.shape.len(), b.shape.len(), y.shape.len());
    if ra < 2 || rb < 2 || ry < 2 {
        return Err(shapes());
    }
    let swap = |s: &[usize], t: bool| if t { (s[1], s[0]) } else { (s[0], s[1]) };
    let (mut m, k) = swap(&a.shape[ra - 2..], spec.trans_a);
    let (kb, n) = swap(&b.shape[rb - 2..], spec.trans_b);
    if k != kb || y.shape[ry - 2..] != [m, n] {
        return Err(shapes());
    }
    let mut batch = y.shape[..ry - 2].to_vec();
    let fits =
        |s: &[usize]| s.len() <= batch.len() && s.iter().rev().zip(batch.iter().rev()).all(|(x, y)| x == y || *x == 1);
    if !fits(&a.shape[..ra - 2]) || !fits(&b.shape[..rb - 2]) {
        return Err(shapes());
    }
    // One matrix b for all batches of a: one tall product.
    let tall = b.shape[..rb - 2].iter().all(|d| *d == 1) && !spec.trans_a && a.shape[..ra - 2] == batch[..];
    if tall {
        m *= batch.iter().product::<usize>();
        batch.clear();
    }
    let (a_batch, b_batch): (&[usize], &[usize]) =
        if tall { (&[], &[]) } else { (&a.shape[..ra - 2], &b.shape[..rb - 2]) };
    let a_offsets = offsets(a_batch, &batch);
    let b_offsets = offsets(b_batch, &batch);

    let plain = spec.alpha == 1.0 && spec.beta == 1.0;
    let per_channel = |o: &Operand<'_>| o.shape.last() == Some(&n) && o.shape.iter().product::<usize>() == n;
    let places = Places { per_channel: &per_channel, per_row: false, plain };
    let terms = Terms::place(bias, epilogue, sides, y, &places)?;
    let x = a.elements::<f32>()?;
    let w = match narrow((b.dtype, b.layout)) {
        Some(form) => Matrix::Narrow(form, bytemuck::try_cast_slice(b.bytes).map_err(|e| format!("weights: {e}"))?),
        None if b.layout == Layout::Panels16 => Matrix::Panels(b.elements()?),
        None => Matrix::Rows(b.elements()?),
    };
    let dims = Dims { m, n, k };
    let (a_rs, a_cs) = if spec.trans_a { (1, m) } else { (k, 1) };
    let (b_rs, b_cs) = if spec.trans_b { (1, k) } else { (n, 1) };
    let need = match w {
        Matrix::Rows(_) => gemm_unpacked_scratch(dims, a_cs),
        Matrix::Panels(_) => gemm_scratch(dims, a_cs),
        Matrix::Narrow(..) => gemm_narrow_scratch(cx.par, dims, a_cs),
    };
    let scratch = cx.scratch.floats(need);
    let out = y.elements()?;
    for (i, (ao, bo)) in a_offsets.iter().zip(&b_offsets).enumerate() {
        let (xa, part) = (&x[ao * m * k..(ao + 1) * m * k], i * m * n..(i + 1) * m * n);
        let e = terms.epilogue(part.clone(), n);
        let (xa, to) = (Mat { data: xa, rs: a_rs, cs: a_cs }, &mut out[part]);
        match w {
            Matrix::Rows(w) => {
                let wb = Mat { data: &w[bo * k * n..(bo + 1) * k * n], rs: b_rs, cs: b_cs };
                gemm_unpacked(cx.isa, cx.par, dims, xa, wb, to, n, &e, scratch);
            }
            Matrix::Panels(w) => {
                let size = packed_len(k, n);
                gemm(cx.isa, cx.par, dims, xa, &w[bo * size..(bo + 1) * size], to, n, &e, scratch);
            }
            Matrix::Narrow(form, w) => {
                let size = n.div_ceil(16) * form.panel_bytes(k) / 4;
                let w = (form, &w[bo * size..(bo + 1) * size]);
                gemm_narrow(cx.isa, cx.par, dims, xa, w, to, n, &e, scratch);
            }
        }
    }
    if terms.bias_left {
        scale_and_add(spec, bias, y)?;
    }
    terms.finish(cx, y)
}

/// The batch number of an operand for each batch of the result.
pub(super) fn offsets(shape: &[usize], batch: &[usize]) -> Vec<usize> {
    let strides = broadcast_strides(shape, batch);
    let count = batch.iter().product();
    (0..count)
        .map(|mut i: usize| {
            let mut at = 0;
            for (e, s) in batch.iter().zip(&strides).rev() {
                at += i % e * s;
                i /= e;
            }
            at
        })
        .collect()
}

/// `y = alpha y + beta bias`, for factors other than 1 and biases of any shape.
fn scale_and_add(spec: &Gemm, bias: Option<Operand<'_>>, y: &mut Output<'_>) -> Result<(), String> {
    let shape = y.shape;
    let out = y.elements()?;
    out.iter_mut().for_each(|v| *v *= spec.alpha);
    let Some(bias) = bias else { return Ok(()) };
    let lead = shape.len().checked_sub(bias.shape.len());
    let fits = lead.is_some_and(|l| bias.shape.iter().zip(&shape[l..]).all(|(a, b)| a == b || *a == 1));
    if !fits {
        return Err(format!("a bias {:?} does not broadcast to {shape:?}", bias.shape));
    }
    let b = bias.elements::<f32>()?;
    for (v, at) in out.iter_mut().zip(offsets(bias.shape, shape)) {
        *v += spec.beta * b[at];
    }
    Ok(())
}
