//! Products and convolutions of bytes with packed weights, and what becomes of their sums.

use super::conv::{geometry, per_channel, planar};
use super::gemm::offsets;
use super::map::{self, Late};
use super::requantise::{Side, Term, recognise};
use super::{Cx, Operand, Output};
use crate::gemm::Dims;
use crate::integer::{
    Clamp, Curve, Factor, Finish, Image, Requant, Residual, To, conv_blocks, conv_blocks_scratch, conv_bytes_depthwise,
    conv_bytes_depthwise_scratch, conv_rows, conv_rows_scratch, gemm_packed, gemm_packed_scratch, packed_matrix_len,
    starts,
};
use planc_kir::{Conv, Expr};
use planc_tensor::{DType, Layout};

/// The parameters of a kernel's last steps.
struct Steps<'a> {
    start: Option<Vec<i32>>,
    form: Form<'a>,
}

enum Form<'a> {
    /// Nothing, or what registers do.
    Requant {
        scale: Vec<f32>,
        bias: Option<Vec<f32>>,
        curve: Option<Curve>,
        residual: Option<Residual<'a>>,
        activation: Clamp,
        factor: Factor,
        to: To,
    },
    /// Any other program.
    Late(Late<'a>),
}

impl<'a> Steps<'a> {
    fn new(
        cx: &Cx<'_>,
        epilogue: Option<&'a Expr>,
        sides: &[Operand<'a>],
        channels: usize,
        one_per: &dyn Fn(&Operand<'_>) -> bool,
        y: &mut Output<'_>,
    ) -> Result<Steps<'a>, String> {
        let Some(expr) = epilogue else {
            let (activation, factor, to) = (Clamp::None, Factor::None, To::Sums);
            let form = Form::Requant { scale: vec![], bias: None, curve: None, residual: None, activation, factor, to };
            return Ok(Steps { start: None, form });
        };
        let (shape, layout) = (y.shape, y.layout);
        let full = |o: &Operand<'_>| o.shape == shape && o.layout == layout;
        let Some(r) = recognise(expr, sides, one_per, &full).filter(|_| expr.result_type() == y.dtype) else {
            return Ok(Steps { start: None, form: Form::Late(Late::new(cx.isa, expr, sides, y)?) });
        };
        let filled = channels.next_multiple_of(16);
        let floats = |t: Term| -> Result<Vec<f32>, String> {
            match t {
                Term::Number(n) => Ok(vec![n as f32; filled]),
                Term::Channels(i) => {
                    let mut v = sides[i].elements::<f32>()?.to_vec();
                    v.resize(filled, 0.0);
                    Ok(v)
                }
            }
        };
        let start = match r.start {
            None => None,
            Some(Term::Number(n)) => Some(vec![n as i32; channels]),
            Some(Term::Channels(i)) => Some(sides[i].elements::<i32>()?.to_vec()),
        };
        let residual = match r.residual {
            None => None,
            Some(Side::Floats(i)) => Some(Residual::F32(sides[i].elements()?)),
            Some(Side::Bytes(i, zero, scale)) => {
                let (bytes, signed) = (sides[i].bytes, sides[i].dtype == DType::I8);
                Some(Residual::Bytes { bytes, signed, zero, scale })
            }
        };
        let form = Form::Requant {
            scale: floats(r.scale.unwrap_or(Term::Number(1.0)))?,
            bias: r.bias.map(floats).transpose()?,
            curve: r.curve,
            residual,
            activation: r.activation,
            factor: r.factor,
            to: r.to,
        };
        Ok(Steps { start, form })
    }

    /// Calls `f` with the steps for the part of the result that starts at element `from`.
    fn with<R>(&self, from: usize, f: impl FnOnce(&Finish<'_>) -> R) -> R {
        match &self.form {
            Form::Requant { scale, bias, curve, residual, activation, factor, to } => {
                let residual = residual.map(|r| match r {
                    Residual::F32(x) => Residual::F32(&x[from..]),
                    Residual::Bytes { bytes, signed, zero, scale } => {
                        Residual::Bytes { bytes: &bytes[from..], signed, zero, scale }
                    }
                });
                let (curve, activation, factor, to) = (*curve, *activation, *factor, *to);
                f(&Finish::Requant(Requant { scale, bias: bias.as_deref(), curve, residual, activation, factor, to }))
            }
            Form::Late(late) => f(&Finish::Each(&|at, sums| late.run(from + at, sums))),
        }
    }
}

/// The zero point of x as its byte.
fn zero_point(x: &Operand<'_>, zero: Option<Operand<'_>>) -> Result<u8, String> {
    match zero {
        None => Ok(0),
        Some(z) if z.dtype == x.dtype && z.bytes.len() == 1 => Ok(z.bytes[0]),
        Some(z) => Err(format!("a zero point {}{:?} of {}{:?} and packed weights", z.dtype, z.shape, x.dtype, x.shape)),
    }
}

fn scratch<'s>(cx: &'s mut Cx<'_>, bytes: usize) -> &'s mut [u8] {
    bytemuck::cast_slice_mut(cx.scratch.floats(bytes.div_ceil(4)))
}

/// `[a, b, a_zero?, -, sides...] -> [out]`, b in [`Layout::QuadPanels16`].
pub(super) fn gemm<'a>(
    cx: &mut Cx<'_>,
    epilogue: Option<&'a Expr>,
    operands: [Option<Operand<'a>>; 4],
    sides: &[Operand<'a>],
    y: &mut Output<'_>,
) -> Result<(), String> {
    let [Some(a), Some(b), zero, None] = operands else { return Err("packed weights have no zero point".into()) };
    let shapes = || format!("{:?} times {:?} does not give {:?}", a.shape, b.shape, y.shape);
    let ([a_batch @ .., rows, k], [b_batch @ .., kb, n], [batch @ .., ym, yn]) = (a.shape, b.shape, y.shape) else {
        return Err(shapes());
    };
    let fits =
        |s: &[usize]| s.len() <= batch.len() && s.iter().rev().zip(batch.iter().rev()).all(|(x, y)| x == y || *x == 1);
    if k != kb || (ym, yn) != (rows, n) || !fits(a_batch) || !fits(b_batch) {
        return Err(shapes());
    }
    let count = |s: &[usize]| s.iter().product::<usize>();
    // One matrix b for all of a: one tall product.
    let tall = count(b_batch) == 1 && a_batch == batch;
    let (m, places) = if tall {
        (count(batch) * rows, vec![(0, 0)])
    } else {
        (*rows, offsets(a_batch, batch).into_iter().zip(offsets(b_batch, batch)).collect())
    };
    let (k, n) = (*k, *n);
    let (dims, signed) = (Dims { m, n, k }, a.dtype == DType::I8);
    let one_per = |o: &Operand<'_>| o.shape.last() == Some(&n) && o.shape.iter().product::<usize>() == n;
    let steps = Steps::new(cx, epilogue, sides, n, &one_per, y)?;
    let image = Image { bytes: &[], signed, zero: zero_point(&a, zero)? };
    let size = packed_matrix_len(k, n);
    let each = m * n * y.dtype.bits() / 8;
    let (isa, par) = (cx.isa, cx.par);
    let memory = scratch(cx, gemm_packed_scratch(dims, signed));
    if each == 0 {
        return Ok(());
    }
    for ((i, (ao, bo)), to) in places.into_iter().enumerate().zip(y.bytes.chunks_exact_mut(each)) {
        let (a, w) = (&a.bytes[ao * m * k..(ao + 1) * m * k], &b.bytes[bo * size..(bo + 1) * size]);
        let start = starts(n, k.div_ceil(4), w, image.zero_as_u8(), steps.start.as_deref());
        steps.with(i * m * n, |f| gemm_packed(isa, par, dims, a, signed, w, &start, to, f, memory));
    }
    Ok(())
}

/// `[x, w, x_zero?, -, sides...] -> [out]`, w in [`Layout::ConvQuads16`], [`Layout::ConvFirstQuads16`] or
/// [`Layout::Depthwise16`].
pub(super) fn conv<'a>(
    cx: &mut Cx<'_>,
    spec: &Conv,
    epilogue: Option<&'a Expr>,
    operands: [Option<Operand<'a>>; 4],
    sides: &[Operand<'a>],
    y: &mut Output<'_>,
) -> Result<(), String> {
    let [Some(x), Some(w), zero, None] = operands else { return Err("packed weights have no zero point".into()) };
    let conv = planar(&geometry(cx, spec, &x, &w, y)?).ok_or("a blocked convolution needs two spatial axes")?;
    let (channels, rank) = (conv.channels.1, y.shape.len());
    let one_per = |o: &Operand<'_>| per_channel(o, channels, rank);
    let steps = Steps::new(cx, epilogue, sides, channels, &one_per, y)?;
    let image = Image { bytes: x.bytes, signed: x.dtype == DType::I8, zero: zero_point(&x, zero)? };
    let taps = conv.kernel.0 * conv.kernel.1;
    let (isa, par, bias, zero) = (cx.isa, cx.par, steps.start.as_deref(), image.zero_as_u8());
    match w.layout {
        Layout::ConvQuads16 => {
            let quads = w.shape[1].div_ceil(16) * taps * 4;
            let start = starts(channels, quads, w.bytes, zero, bias);
            let memory = scratch(cx, conv_blocks_scratch(&conv, image.signed));
            steps.with(0, |f| conv_blocks(isa, par, &conv, image, w.bytes, &start, y.bytes, f, memory));
        }
        Layout::ConvFirstQuads16 => {
            let start = starts(channels, w.shape[1].div_ceil(4) * taps, w.bytes, zero, bias);
            let memory = scratch(cx, conv_rows_scratch(&conv));
            steps.with(0, |f| conv_rows(isa, par, &conv, image, w.bytes, &start, y.bytes, f, memory));
        }
        Layout::Depthwise16 => {
            let mut start = bias.map_or(vec![], <[i32]>::to_vec);
            start.resize(channels.next_multiple_of(16), 0);
            let memory = scratch(cx, conv_bytes_depthwise_scratch(&conv, par));
            steps.with(0, |f| conv_bytes_depthwise(isa, par, &conv, image, w.bytes, &start, y.bytes, f, memory));
        }
        other => return Err(format!("weights in layout {other}")),
    }
    map::clear_filling(y)
}

#[cfg(test)]
#[path = "packed_tests.rs"]
mod tests;
