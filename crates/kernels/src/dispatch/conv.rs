//! Convolutions: which kernel follows from the layouts of operands and result.

use super::terms::{Places, Terms};
use super::{Cx, Operand, Output, spread};
use crate::conv::{
    Conv2d, PlainConv, TransposedConv, conv_depthwise, conv_direct, conv_first, conv_plain, conv_transposed,
    conv_winograd, direct_scratch, first_scratch, plain_scratch, transposed_scratch, winograd_scratch,
};
use planc_kir::{Conv, Expr};
use planc_tensor::Layout;

/// Layouts of x, w and the result that [`run`] has a kernel for.
pub(super) fn supports(x: Layout, w: Layout, y: Layout) -> bool {
    use Layout::*;
    matches!(
        (x, w, y),
        (RowMajor, RowMajor, RowMajor)
            | (Nchw16c, ConvBlocks16 | Depthwise16 | Winograd16, Nchw16c)
            | (RowMajor, ConvFirst16, Nchw16c)
    )
}

/// `[x, w, bias?, sides...] -> [out]`.
pub(super) fn run<'a>(
    cx: &mut Cx<'_>,
    spec: &Conv,
    epilogue: Option<&'a Expr>,
    inputs: &[Option<Operand<'a>>],
    y: &mut Output<'_>,
) -> Result<(), String> {
    let (operands, sides) = split(inputs, epilogue);
    let (x, w, bias) = (operands[0], operands[1], operands[2]);
    let (Some(x), Some(w)) = (x, w) else { return Err("an operand is missing".into()) };
    let conv = geometry(cx, spec, &x, &w, y)?;
    let (channels, rank) = (conv.channels.1, y.shape.len());
    let per_channel = |o: &Operand<'_>| per_channel(o, channels, rank);
    let places = Places { per_channel: &per_channel, per_row: y.layout == Layout::RowMajor, plain: true };
    let terms = Terms::place(bias, epilogue, sides, y, &places)?;
    let (data, weights) = (x.elements::<f32>()?, w.elements::<f32>()?);
    let len = y.bytes.len() / 4;
    let e = terms.epilogue(0..len, 0);
    match w.layout {
        Layout::RowMajor => {
            let scratch = cx.scratch.floats(plain_scratch(&conv, cx.par));
            conv_plain(cx.isa, cx.par, &conv, data, weights, y.elements()?, &e, scratch);
        }
        layout => {
            let conv = planar(&conv).ok_or("a blocked convolution needs two spatial axes")?;
            let out = y.elements()?;
            match layout {
                Layout::ConvBlocks16 => {
                    let scratch = cx.scratch.floats(direct_scratch(&conv));
                    conv_direct(cx.isa, cx.par, &conv, data, weights, out, &e, scratch);
                }
                Layout::Winograd16 if conv.is_winograd() => {
                    let scratch = cx.scratch.floats(winograd_scratch(&conv, cx.par));
                    conv_winograd(cx.isa, cx.par, &conv, data, weights, out, &e, scratch);
                }
                Layout::ConvFirst16 => {
                    let scratch = cx.scratch.floats(first_scratch(&conv));
                    conv_first(cx.isa, cx.par, &conv, data, weights, out, &e, scratch);
                }
                Layout::Depthwise16 => conv_depthwise(cx.isa, cx.par, &conv, data, weights, out, &e),
                other => return Err(format!("weights in layout {other}")),
            }
        }
    }
    terms.finish(cx, y)
}

/// `[x, w, bias?, sides...] -> [out]`, w in [`Layout::ConvTransposed`].
pub(super) fn run_transposed<'a>(
    cx: &mut Cx<'_>,
    spec: &Conv,
    epilogue: Option<&'a Expr>,
    inputs: &[Option<Operand<'a>>],
    y: &mut Output<'_>,
) -> Result<(), String> {
    let (operands, sides) = split(inputs, epilogue);
    let (Some(x), Some(w)) = (operands[0], operands[1]) else { return Err("an operand is missing".into()) };
    let (rank, group) = (x.shape.len(), spec.group);
    let fits = (3..=5).contains(&rank)
        && w.shape.len() == rank
        && y.shape.len() == rank
        && group > 0
        && x.shape[1] == w.shape[0]
        && x.shape[1].is_multiple_of(group)
        && w.shape[1].checked_mul(group) == Some(y.shape[1])
        && x.shape[0] == y.shape[0]
        && spec.strides.iter().chain(&spec.dilations).all(|s| *s > 0);
    if !fits {
        return Err(format!("a kernel {:?} does not take {:?} to {:?}", w.shape, x.shape, y.shape));
    }
    let pads = spec.pads.iter().map(|p| cx.dim(&p[0])).collect::<Result<Vec<_>, _>>()?;
    let pads: Option<Vec<usize>> = pads.iter().map(|p| usize::try_from(*p).ok()).collect();
    let pads = pads.ok_or("negative pads")?;
    let conv = TransposedConv {
        batch: x.shape[0],
        channels: (x.shape[1], y.shape[1]),
        groups: group,
        input: spread(&x.shape[2..], 1),
        output: spread(&y.shape[2..], 1),
        kernel: spread(&w.shape[2..], 1),
        stride: spread(&spec.strides, 1),
        dilation: spread(&spec.dilations, 1),
        pads_begin: spread(&pads, 0),
    };
    let channels = y.shape[1];
    let per_channel = |o: &Operand<'_>| per_channel(o, channels, rank);
    let places = Places { per_channel: &per_channel, per_row: true, plain: true };
    let terms = Terms::place(operands[2], epilogue, sides, y, &places)?;
    let (data, weights) = (x.elements::<f32>()?, w.elements::<f32>()?);
    let e = terms.epilogue(0..y.bytes.len() / 4, 0);
    let scratch = cx.scratch.floats(transposed_scratch(&conv, cx.par));
    conv_transposed(cx.isa, cx.par, &conv, data, weights, y.elements()?, &e, scratch);
    terms.finish(cx, y)
}

/// x, w and bias apart from the sides of the epilogue.
pub(super) fn split<'a>(
    inputs: &[Option<Operand<'a>>],
    epilogue: Option<&Expr>,
) -> ([Option<Operand<'a>>; 3], Vec<Operand<'a>>) {
    let from = inputs.len() - epilogue.map_or(0, |e| e.args().len() - 1).min(inputs.len());
    let operand = |i: usize| inputs[..from].get(i).copied().flatten();
    ([operand(0), operand(1), operand(2)], inputs[from..].iter().flatten().copied().collect())
}

/// Whether an operand is added per channel of a result `[N, C, spatial..]` of rank `rank`: a bias vector `[C]`, or an
/// epilogue side whose only other extents are 1.
pub(super) fn per_channel(o: &Operand<'_>, channels: usize, rank: usize) -> bool {
    let as_side = o.shape.len() + 1 >= rank && o.shape.len() >= 2 && o.shape[o.shape.len() - (rank - 1)] == channels;
    o.layout == Layout::RowMajor && o.shape.iter().product::<usize>() == channels && (o.shape == [channels] || as_side)
}

pub(super) fn geometry(
    cx: &Cx<'_>,
    spec: &Conv,
    x: &Operand<'_>,
    w: &Operand<'_>,
    y: &Output<'_>,
) -> Result<PlainConv, String> {
    let (rank, group) = (x.shape.len(), spec.group);
    let wrong = || format!("a kernel {:?} does not take {:?} to {:?}", w.shape, x.shape, y.shape);
    let fits = (3..=5).contains(&rank)
        && w.shape.len() == rank
        && y.shape.len() == rank
        && group > 0
        && w.shape[1].checked_mul(group) == Some(x.shape[1])
        && w.shape[0].is_multiple_of(group)
        && w.shape[2..].iter().chain(&spec.strides).chain(&spec.dilations).all(|d| *d > 0);
    if !fits {
        return Err(wrong());
    }
    let pad = |side: usize| {
        let pads = spec.pads.iter().map(|p| cx.dim(&p[side])).collect::<Result<Vec<_>, _>>()?;
        let pads: Option<Vec<usize>> = pads.iter().map(|p| usize::try_from(*p).ok()).collect();
        pads.ok_or_else(|| "negative pads".to_string())
    };
    let conv = PlainConv {
        batch: x.shape[0],
        channels: (x.shape[1], w.shape[0]),
        groups: group,
        input: spread(&x.shape[2..], 1),
        kernel: spread(&w.shape[2..], 1),
        stride: spread(&spec.strides, 1),
        dilation: spread(&spec.dilations, 1),
        pads_begin: spread(&pad(0)?, 0),
        pads_end: spread(&pad(1)?, 0),
    };
    let got = conv.output();
    if y.shape[..2] != [x.shape[0], w.shape[0]] || got[5 - rank..] != y.shape[2..] {
        return Err(wrong());
    }
    Ok(conv)
}

/// The convolution as one over height and width.
pub(super) fn planar(c: &PlainConv) -> Option<Conv2d> {
    let two = |v: [usize; 3]| (v[1], v[2]);
    let flat = c.input[0] == 1 && c.kernel[0] == 1 && c.pads_begin[0] == 0 && c.pads_end[0] == 0;
    flat.then(|| Conv2d {
        batch: c.batch,
        channels: c.channels,
        groups: c.groups,
        input: two(c.input),
        kernel: two(c.kernel),
        stride: two(c.stride),
        dilation: two(c.dilation),
        pads_begin: two(c.pads_begin),
        pads_end: two(c.pads_end),
    })
}
