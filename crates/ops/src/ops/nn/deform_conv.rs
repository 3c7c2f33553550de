//! DeformConv: a 2-D convolution whose sampling points are displaced by offsets, interpolated bilinearly, zero outside,
//! and weighted by a mask (Dai 2017, Zhu 2019).

use crate::convolve::{group, infer};
use crate::floats::{narrow, widen, widen_opt};
use crate::window::Window;
use crate::{AttrDef, AttrKind, EvalCx, InferCx, OpDef, OpError, Param, TypeSet, operand};
use planc_ir::Attrs;
use planc_tensor::{Tensor, View};

/// The row of DeformConv.
pub const OP: OpDef = OpDef {
    name: "DeformConv",
    since: 19,
    types: &[("T", TypeSet::FLOAT)],
    inputs: &[
        Param::req("X", "T"),
        Param::req("W", "T"),
        Param::req("offset", "T"),
        Param::opt("B", "T"),
        Param::opt("mask", "T"),
    ],
    outputs: &[Param::req("Y", "T")],
    attrs: &[
        AttrDef::optional("dilations", AttrKind::Ints),
        AttrDef::int("group", 1),
        AttrDef::optional("kernel_shape", AttrKind::Ints),
        AttrDef::int("offset_group", 1),
        AttrDef::optional("pads", AttrKind::Ints),
        AttrDef::optional("strides", AttrKind::Ints),
    ],
    infer: |cx: &mut InferCx<'_>| {
        offset_group(cx.attrs())?;
        if let Some(x) = cx.shape(0)?
            && x.len() != 4
        {
            return Err(OpError::unsupported(format!("deformable convolution of data of rank {}", x.len())));
        }
        let dtype = cx.dtype(0)?;
        infer(cx, dtype, 0, 1, 3)
    },
    eval: Some(eval),
    ..OpDef::NEW
};

fn offset_group(attrs: &Attrs) -> Result<usize, OpError> {
    let n = attrs.int("offset_group").unwrap_or(1);
    usize::try_from(n).ok().filter(|n| *n > 0).ok_or_else(|| OpError::attribute(format!("offset_group is {n}")))
}

fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>]) -> Result<Vec<Tensor>, OpError> {
    let (x, w, offset) = (operand(inputs, 0)?, operand(inputs, 1)?, operand(inputs, 2)?);
    let (&[n, c, ih, iw], &[m, cg, kh, kw]) = (x.shape(), w.shape()) else {
        return Err(OpError::unsupported("deformable convolution other than 2-D"));
    };
    let (group, offsets) = (group(cx.attrs())?, offset_group(cx.attrs())?);
    if cg.checked_mul(group) != Some(c) || !m.is_multiple_of(group) || !c.is_multiple_of(offsets) {
        return Err(OpError::shape(format!("{c} channels and weights {:?} do not divide into groups", w.shape())));
    }
    let window = Window::of_conv(cx.attrs(), &[kh, kw])?;
    let (out, before) = window.over_fixed(&[ih, iw])?;
    let (taps, plane) = (kh * kw, out[0] * out[1]);
    let shape = [n, m, out[0], out[1]];
    let total = cx.reserve(x.dtype(), &shape)?;
    let (bias, mask) = (widen_opt(inputs.get(3).copied().flatten())?, widen_opt(inputs.get(4).copied().flatten())?);
    let sampled = n * offsets * taps * plane;
    if offset.len() != 2 * sampled || mask.as_ref().is_some_and(|m| m.len() != sampled) {
        return Err(OpError::shape(format!("offsets of {:?} do not fit {shape:?}", offset.shape())));
    }
    if bias.as_ref().is_some_and(|b| b.len() != m) {
        return Err(OpError::shape("the bias has another length than there are output channels"));
    }
    let (xv, wv, ov) = (widen(x)?, widen(w)?, widen(offset)?);
    let mut y = Vec::with_capacity(total);
    let mut columns = vec![0.0; c * taps * plane];
    for b in 0..n {
        // The samples of every channel and tap, then a matrix product with the weights.
        for ch in 0..c {
            let image = &xv[(b * c + ch) * ih * iw..][..ih * iw];
            let g = b * offsets + ch / (c / offsets);
            for t in 0..taps {
                for p in 0..plane {
                    let at = |axis: usize| ov[((g * taps + t) * 2 + axis) * plane + p];
                    let place = |axis: usize, o: usize, k: usize| {
                        (o * window.strides[axis] + k * window.dilations[axis]) as f64 - before[axis] as f64 + at(axis)
                    };
                    let (row, column) = (place(0, p / out[1], t / kw), place(1, p % out[1], t % kw));
                    let weight = mask.as_ref().map_or(1.0, |m| m[(g * taps + t) * plane + p]);
                    columns[(ch * taps + t) * plane + p] = weight * sample(image, [ih, iw], [row, column]);
                }
            }
        }
        for o in 0..m {
            let base = y.len();
            y.resize(base + plane, bias.as_ref().map_or(0.0, |b| b[o]));
            let first = o / (m / group) * cg * taps * plane;
            let row = &wv[o * cg * taps..][..cg * taps];
            crate::product::accumulate(&mut y[base..], row, &columns[first..][..cg * taps * plane]);
        }
    }
    Ok(vec![narrow(x.dtype(), &shape, y)?])
}

/// The bilinear interpolation at a position; zero outside.
fn sample(image: &[f64], [h, w]: [usize; 2], [row, column]: [f64; 2]) -> f64 {
    if !(row > -1.0 && row < h as f64 && column > -1.0 && column < w as f64) {
        return 0.0;
    }
    let (top, left) = (row.floor(), column.floor());
    let (dy, dx) = (row - top, column - left);
    let at = |r: f64, c: f64| {
        let inside = r >= 0.0 && c >= 0.0 && (r as usize) < h && (c as usize) < w;
        if inside { image[r as usize * w + c as usize] } else { 0.0 }
    };
    let above = (1.0 - dx) * at(top, left) + dx * at(top, left + 1.0);
    let below = (1.0 - dx) * at(top + 1.0, left) + dx * at(top + 1.0, left + 1.0);
    (1.0 - dy) * above + dy * below
}
