//! ConvTranspose: the gradient of Conv with respect to its data: every input element adds a window to the result.

use crate::convolve::{agree, group, kernel_of};
use crate::floats::{narrow, widen, widen_opt};
use crate::window::{MAX, Window};
use crate::{AttrDef, AttrKind, EvalCx, InferCx, LowerCx, Lowered, OpDef, OpError, Param, TypeSet, operand};
use planc_ir::Attrs;
use planc_kir::{Conv, Kernel};
use planc_tensor::{Dim, Tensor, View};

/// The row of ConvTranspose.
pub const OP: OpDef = OpDef {
    name: "ConvTranspose",
    types: &[("T", TypeSet::FLOAT)],
    inputs: &[Param::req("X", "T"), Param::req("W", "T"), Param::opt("B", "T")],
    outputs: &[Param::req("Y", "T")],
    attrs: &[
        AttrDef::str("auto_pad", "NOTSET"),
        AttrDef::optional("dilations", AttrKind::Ints),
        AttrDef::int("group", 1),
        AttrDef::optional("kernel_shape", AttrKind::Ints),
        AttrDef::optional("output_padding", AttrKind::Ints),
        AttrDef::optional("output_shape", AttrKind::Ints),
        AttrDef::optional("pads", AttrKind::Ints),
        AttrDef::optional("strides", AttrKind::Ints),
    ],
    infer,
    eval: Some(eval),
    lower,
    ..OpDef::NEW
};

/// The window whose forward convolution this is the gradient of, with no padding of its own, and what is cut.
struct Geometry {
    window: Window,
    attrs: Attrs,
    extra: Vec<Dim>,
    wanted: Option<Vec<Dim>>,
}

impl Geometry {
    fn new(attrs: &Attrs, kernel: &[usize]) -> Result<Geometry, OpError> {
        let window = Window::of_conv(attrs, kernel)?;
        let rank = kernel.len();
        let numbers = |name: &str| -> Result<Option<Vec<Dim>>, OpError> {
            let Some(v) = attrs.ints(name).filter(|v| !v.is_empty()) else { return Ok(None) };
            // Some exporters write batch and channels into output_shape too.
            let v = if name == "output_shape" && v.len() == rank + 2 { &v[2..] } else { v };
            if v.len() != rank || v.iter().any(|v| *v < 0 || *v > MAX) {
                return Err(OpError::attribute(format!("{name} is {v:?} for {rank} spatial axes")));
            }
            Ok(Some(v.iter().map(|v| Dim::from(*v)).collect()))
        };
        let extra = numbers("output_padding")?.unwrap_or_else(|| vec![Dim::from(0i64); rank]);
        Ok(Geometry { extra, wanted: numbers("output_shape")?, window, attrs: attrs.clone() })
    }

    /// The result's extent and what is cut before and after, along spatial axis `i` of extent `d`.
    fn along(&self, i: usize, d: &Dim) -> Result<(Dim, [Dim; 2]), OpError> {
        let (one, zero, two) = (Dim::from(1i64), Dim::from(0i64), Dim::from(2i64));
        let stride = Dim::from(self.window.strides[i]);
        let full = (d.clone() - one) * stride.clone() + self.extra[i].clone() + self.window.span(i);
        let auto = self.attrs.str("auto_pad").unwrap_or("NOTSET");
        let split = |total: Dim| {
            let less = total.floor_div(&two);
            let more = total - less.clone();
            if auto == "SAME_UPPER" { [less, more] } else { [more, less] }
        };
        let (out, cut) = match &self.wanted {
            Some(wanted) => (wanted[i].clone(), split((full - wanted[i].clone()).maximum(&zero))),
            None if auto.starts_with("SAME") => {
                let out = d.clone() * stride;
                (out.clone(), split((full - out).maximum(&zero)))
            }
            None if auto == "VALID" => (full, [zero.clone(), zero]),
            None => {
                let pads = self.attrs.ints("pads").filter(|p| !p.is_empty());
                let rank = self.extra.len();
                let cut = [i, i + rank].map(|k| pads.and_then(|p| p.get(k)).map_or(zero.clone(), |v| Dim::from(*v)));
                (full - cut[0].clone() - cut[1].clone(), cut)
            }
        };
        if out.as_const().is_some_and(|o| o <= 0) {
            return Err(OpError::shape(format!("spatial axis {i} of extent {d} gives {out} elements")));
        }
        Ok((out, cut))
    }
}

fn infer(cx: &mut InferCx<'_>) -> Result<(), OpError> {
    let dtype = cx.dtype(0)?;
    let (data, weights) = (cx.shape(0)?, cx.shape(1)?);
    let group = group(cx.attrs())?;
    let Some(rank) = data.or(weights).map(<[Dim]>::len) else {
        cx.set_shape(0, dtype, None);
        return Ok(());
    };
    let (x, w) = (data.map_or(rank, <[Dim]>::len), weights.map_or(rank, <[Dim]>::len));
    if x < 3 || x != w {
        return Err(OpError::shape(format!("data of rank {x} and weights of rank {w} do not convolve")));
    }
    if let (Some(data), Some(weights)) = (data, weights) {
        agree(&data[1], &weights[0], "data and weights have different channel counts")?;
    }
    if let Some(c) = weights.and_then(|s| s[0].as_const())
        && c % group as i64 != 0
    {
        return Err(OpError::shape(format!("{c} input channels do not divide into {group} groups")));
    }
    let channels = weights.map(|s| s[1].clone() * Dim::from(group));
    if let (Some(channels), true) = (&channels, cx.has(2))
        && let Some(bias) = cx.shape(2)?
    {
        match bias {
            [n] => agree(n, channels, "the bias has another length than there are output channels")?,
            _ => return Err(OpError::shape(format!("the bias has rank {}", bias.len()))),
        }
    }
    let kernel = kernel_of(cx.attrs(), weights, rank - 2)?;
    let geometry = kernel.map(|k| Geometry::new(cx.attrs(), &k)).transpose()?;
    let mut shape =
        vec![data.map_or_else(|| cx.fresh(0, 0), |s| s[0].clone()), channels.unwrap_or_else(|| cx.fresh(0, 1))];
    for i in 0..rank - 2 {
        shape.push(match (&geometry, data) {
            (Some(g), Some(data)) => g.along(i, &data[i + 2])?.0,
            _ => cx.fresh(0, i + 2),
        });
    }
    cx.set_tensor(0, dtype, shape);
    Ok(())
}

fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>]) -> Result<Vec<Tensor>, OpError> {
    let (x, w) = (operand(inputs, 0)?, operand(inputs, 1)?);
    let (xs, ws) = (x.shape(), w.shape());
    let group = group(cx.attrs())?;
    if xs.len() < 3 || xs.len() != ws.len() || xs[1] != ws[0] || !ws[0].is_multiple_of(group) {
        return Err(OpError::shape(format!("data {xs:?} and weights {ws:?} do not convolve in {group} groups")));
    }
    let geometry = Geometry::new(cx.attrs(), &ws[2..])?;
    let mut shape = vec![xs[0], ws[1].saturating_mul(group)];
    let mut before = vec![];
    for (i, d) in xs[2..].iter().enumerate() {
        let (out, cut) = geometry.along(i, &Dim::from(*d))?;
        shape.push(out.as_usize().ok_or_else(|| OpError::limit(format!("extent {out} is out of range")))?);
        before.push(cut[0].as_usize().unwrap_or(0));
    }
    let total = cx.reserve(x.dtype(), &shape)?;
    let bias = widen_opt(inputs.get(2).copied().flatten())?;
    if bias.as_ref().is_some_and(|b| b.len() != shape[1]) {
        return Err(OpError::shape("the bias has another length than there are output channels"));
    }
    // The forward convolution reads the result and writes the data: runs with the roles exchanged.
    let taps = geometry.window.taps(&shape[2..], &xs[2..], &before)?;
    let (xv, wv) = (widen(x)?, widen(w)?);
    let (plane, image): (usize, usize) = (shape[2..].iter().product(), xs[2..].iter().product());
    let (c, m) = (xs[1] / group, ws[1]);
    let step = geometry.window.strides.last().copied().unwrap_or(1);
    let mut out = Vec::with_capacity(total);
    for n in 0..xs[0] {
        for o in 0..shape[1] {
            let base = out.len();
            out.resize(base + plane, bias.as_ref().map_or(0.0, |b| b[o]));
            let y = &mut out[base..];
            for i in o / m * c..(o / m + 1) * c {
                let x = &xv[(n * xs[1] + i) * image..][..image];
                let w = &wv[(i * m + o % m) * taps.len()..][..taps.len()];
                for (runs, w) in taps.iter().zip(w) {
                    for r in runs {
                        let y = y[r.x..].iter_mut().step_by(step);
                        y.zip(&x[r.out..][..r.len]).for_each(|(y, x)| *y += w * x);
                    }
                }
            }
        }
    }
    Ok(vec![narrow(x.dtype(), &shape, out)?])
}

fn lower(cx: &LowerCx<'_>) -> Lowered {
    let geometry = || {
        let (data, weights) = (cx.shape(0).ok()??, cx.shape(1).ok()?);
        let kernel = kernel_of(cx.attrs(), weights, data.len().checked_sub(2)?).ok()??;
        let g = Geometry::new(cx.attrs(), &kernel).ok()?;
        let cuts = data.get(2..)?.iter().enumerate().map(|(i, d)| Some(g.along(i, d).ok()?.1));
        let pads = cuts.collect::<Option<Vec<_>>>()?;
        let group = group(cx.attrs()).ok()?;
        Some(Conv { group, strides: g.window.strides, dilations: g.window.dilations, pads })
    };
    match geometry() {
        Some(conv) => Lowered::kernel(Kernel::ConvTranspose(conv), cx.input_count()),
        None => Lowered::Reference,
    }
}
