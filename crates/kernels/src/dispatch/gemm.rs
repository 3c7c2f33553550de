//! Batched matrix products.

use super::epilogue::{Recognised, recognise};
use super::{Cx, Operand, Output, map};
use crate::epilogue::{Activation, Bias, Epilogue, Residual};
use crate::gemm::{Dims, Mat, gemm, gemm_scratch, gemm_unpacked, gemm_unpacked_scratch};
use planc_kir::{Expr, Gemm};
use planc_tensor::{Layout, broadcast_strides};

/// `[a, b, bias?, sides...] -> [out]`.
pub(super) fn run(
    cx: &mut Cx<'_>,
    spec: &Gemm,
    epilogue: Option<&Expr>,
    inputs: &[Option<Operand<'_>>],
    y: &mut Output<'_>,
) -> Result<(), String> {
    let sides_from = inputs.len() - epilogue.map_or(0, |e| e.args().len() - 1);
    let sides: Vec<Operand<'_>> = inputs[sides_from..].iter().flatten().copied().collect();
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

    // Sums and activations in registers where they are of the usual form; a map over the result else.
    let plain = spec.alpha == 1.0 && spec.beta == 1.0;
    let shape: Vec<usize> = y.shape.to_vec();
    let nothing = Recognised { before: vec![], activation: Activation::None, after: None };
    let usual = match epilogue {
        Some(e) => recognise(e).and_then(|r| place(&r, bias, &sides, &shape, plain)),
        None => place(&nothing, bias, &[], &shape, plain),
    };
    let bias_only = || place(&nothing, bias, &[], &shape, plain).map(|p| Placed { done: false, ..p });
    let plan = usual.or_else(bias_only).unwrap_or_default();
    let col_bias = plan.col_bias.map(|o: Operand<'_>| o.elements::<f32>()).transpose()?;
    let residual = plan.residual.map(|o: Operand<'_>| o.elements::<f32>()).transpose()?;
    let (x, w) = (a.elements::<f32>()?, b.elements::<f32>()?);
    let dims = Dims { m, n, k };
    let (a_rs, a_cs) = if spec.trans_a { (1, m) } else { (k, 1) };
    let (b_rs, b_cs) = if spec.trans_b { (1, k) } else { (n, 1) };
    let packed = b.layout == Layout::Panels16;
    let need = if packed { gemm_scratch(dims, a_cs) } else { gemm_unpacked_scratch(dims, a_cs) };
    let scratch = cx.scratch.floats(need);
    let out = y.elements()?;
    for (i, (ao, bo)) in a_offsets.iter().zip(&b_offsets).enumerate() {
        let (xa, part) = (&x[ao * m * k..(ao + 1) * m * k], i * m * n..(i + 1) * m * n);
        let e = Epilogue {
            bias: col_bias.map_or(Bias::None, Bias::PerCol),
            residual: residual.map(|r| Residual::new(&r[part.clone()], n)),
            activation: plan.activation,
            residual_after_activation: plan.after,
        };
        let xa = Mat { data: xa, rs: a_rs, cs: a_cs };
        if packed {
            let size = crate::gemm::packed_len(k, n);
            gemm(cx.isa, cx.par, dims, xa, &w[bo * size..(bo + 1) * size], &mut out[part], n, &e, scratch);
        } else {
            let wb = Mat { data: &w[bo * k * n..(bo + 1) * k * n], rs: b_rs, cs: b_cs };
            gemm_unpacked(cx.isa, cx.par, dims, xa, wb, &mut out[part], n, &e, scratch);
        }
    }
    if !plan.bias_done {
        scale_and_add(spec, bias, y)?;
    }
    match epilogue {
        Some(e) if !plan.done => map::run_in_place(cx, e, &sides, y),
        _ => Ok(()),
    }
}

/// What the product itself takes over of bias and epilogue.
#[derive(Default)]
struct Placed<'a> {
    col_bias: Option<Operand<'a>>,
    residual: Option<Operand<'a>>,
    activation: Activation,
    after: bool,
    /// The bias and the factors are taken care of.
    bias_done: bool,
    /// The epilogue is.
    done: bool,
}

/// Finds a place for every term, or none for all.
fn place<'a>(
    r: &Recognised,
    bias: Option<Operand<'a>>,
    sides: &[Operand<'a>],
    shape: &[usize],
    plain: bool,
) -> Option<Placed<'a>> {
    if !plain {
        return None;
    }
    let mut p = Placed { activation: r.activation, bias_done: true, done: true, ..Placed::default() };
    let n = *shape.last()?;
    let per_column = |o: &Operand<'_>| o.shape.last() == Some(&n) && o.shape.iter().product::<usize>() == n;
    for o in bias.into_iter().chain(r.before.iter().filter_map(|i| sides.get(usize::from(*i) - 1).copied())) {
        if p.col_bias.is_none() && per_column(&o) {
            p.col_bias = Some(o);
        } else if p.residual.is_none() && o.shape == shape {
            p.residual = Some(o);
        } else {
            return None;
        }
    }
    if let Some(i) = r.after {
        let o = *sides.get(usize::from(i) - 1)?;
        if p.residual.is_some() || o.shape != shape {
            return None;
        }
        p.residual = Some(o);
        p.after = true;
    }
    Some(p)
}

/// The batch number of an operand for each batch of the result.
fn offsets(shape: &[usize], batch: &[usize]) -> Vec<usize> {
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
