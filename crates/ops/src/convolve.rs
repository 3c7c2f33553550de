//! Convolutions over any number of spatial axes: inference, loops and geometry that all of them share.
//!
//! The loops are generic over the accumulator: f64 for floats, i64 for integers (which cannot overflow on 8-bit operands).

use crate::cx::{InferCx, LowerCx, Lowered};
use crate::error::OpError;
use crate::window::Window;
use planc_ir::Attrs;
use planc_kir::{Conv, Kernel};
use planc_tensor::{DType, Dim};
use std::ops::{AddAssign, Mul};

/// The attribute `group`, checked.
///
/// # Errors
/// When it is not positive.
pub fn group(attrs: &Attrs) -> Result<usize, OpError> {
    let group = attrs.int("group").unwrap_or(1);
    usize::try_from(group)
        .ok()
        .filter(|g| *g > 0 && *g < 1 << 31)
        .ok_or_else(|| OpError::attribute(format!("group is {group}")))
}

/// Refuses two constant extents that differ.
///
/// # Errors
/// When they do; `what` says of which things.
pub fn agree(a: &Dim, b: &Dim, what: &str) -> Result<(), OpError> {
    match (a.as_const(), b.as_const()) {
        (Some(x), Some(y)) if x != y => Err(OpError::shape(format!("{what}: {x} and {y}"))),
        _ => Ok(()),
    }
}

/// Ranks of data and weights agree and leave at least one spatial axis.
fn ranks(x: usize, w: usize) -> Result<(), OpError> {
    if x < 3 || x != w {
        return Err(OpError::shape(format!("data of rank {x} and weights of rank {w} do not convolve")));
    }
    Ok(())
}

/// Inference of a convolution of operand `x` with weights `w` and optional bias `b`, giving `dtype`.
///
/// # Errors
/// When attributes or shapes are wrong.
pub fn infer(cx: &mut InferCx<'_>, dtype: DType, x: usize, w: usize, b: usize) -> Result<(), OpError> {
    let (data, weights) = (cx.shape(x)?, cx.shape(w)?);
    let group = group(cx.attrs())?;
    let Some(rank) = data.or(weights).map(<[Dim]>::len) else {
        cx.set_shape(0, dtype, None);
        return Ok(());
    };
    ranks(data.map_or(rank, <[Dim]>::len), weights.map_or(rank, <[Dim]>::len))?;
    if let (Some(data), Some(weights)) = (data, weights) {
        let channels = weights[1].clone() * Dim::from(group);
        agree(&data[1], &channels, "the data's channels are not group times the weights'")?;
    }
    if let Some(m) = weights.and_then(|s| s[0].as_const())
        && m % group as i64 != 0
    {
        return Err(OpError::shape(format!("{m} output channels do not divide into {group} groups")));
    }
    if let (Some(weights), true) = (weights, cx.has(b))
        && let Some(bias) = cx.shape(b)?
    {
        match bias {
            [n] => agree(n, &weights[0], "the bias has another length than there are output channels")?,
            _ => return Err(OpError::shape(format!("the bias has rank {}", bias.len()))),
        }
    }
    let kernel = kernel_of(cx.attrs(), weights, rank - 2)?;
    let window = kernel.map(|k| Window::of_conv(cx.attrs(), &k)).transpose()?;
    let mut shape = vec![
        data.map_or_else(|| cx.fresh(0, 0), |s| s[0].clone()),
        weights.map_or_else(|| cx.fresh(0, 1), |s| s[0].clone()),
    ];
    for i in 0..rank - 2 {
        shape.push(match (&window, data) {
            (Some(window), Some(data)) => window.along(i, &data[i + 2])?.0,
            _ => cx.fresh(0, i + 2),
        });
    }
    cx.set_tensor(0, dtype, shape);
    Ok(())
}

/// Spatial extents of the weights, from their shape or from `kernel_shape`.
///
/// # Errors
/// When `kernel_shape` has a wrong count or a number that is not an extent.
pub fn kernel_of(attrs: &Attrs, weights: Option<&[Dim]>, spatial: usize) -> Result<Option<Vec<usize>>, OpError> {
    if let Some(kernel) = weights.and_then(|s| s.get(2..)?.iter().map(Dim::as_usize).collect::<Option<Vec<_>>>()) {
        return Ok(Some(kernel));
    }
    match attrs.ints("kernel_shape").filter(|k| !k.is_empty()) {
        Some(k) if k.len() != spatial => {
            Err(OpError::attribute(format!("kernel_shape has {} numbers, not {spatial}", k.len())))
        }
        Some(k) => {
            let extents = k.iter().map(|v| usize::try_from(*v).ok()).collect::<Option<Vec<_>>>();
            Ok(Some(extents.ok_or_else(|| OpError::attribute(format!("kernel_shape is {k:?}")))?))
        }
        None => Ok(None),
    }
}

/// The geometry for a kernel of a convolution of operands `x` and `w`; `None` when it is not known yet.
pub fn geometry(cx: &LowerCx<'_>, x: usize, w: usize) -> Option<Conv> {
    let (data, weights) = (cx.shape(x).ok()??, cx.shape(w).ok()?);
    let kernel = kernel_of(cx.attrs(), weights, data.len().checked_sub(2)?).ok()??;
    let window = Window::of_conv(cx.attrs(), &kernel).ok()?;
    let (_, pads) = window.over(data.get(2..)?).ok()?;
    Some(Conv { group: group(cx.attrs()).ok()?, strides: window.strides, dilations: window.dilations, pads })
}

/// Lowering of `[x, w, bias?]` to a `Conv` kernel.
pub fn lower(cx: &LowerCx<'_>) -> Lowered {
    match geometry(cx, 0, 1) {
        Some(conv) => Lowered::kernel(Kernel::Conv(conv), cx.input_count()),
        None => Lowered::Reference,
    }
}

/// Checked extents of a convolution that is about to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The result's shape.
    pub shape: Vec<usize>,
    window: Window,
    before: Vec<usize>,
    group: usize,
}

impl Plan {
    /// Checks the shapes of data `x` and weights `w`.
    ///
    /// # Errors
    /// When attributes or shapes are wrong.
    pub fn new(attrs: &Attrs, x: &[usize], w: &[usize]) -> Result<Plan, OpError> {
        let group = group(attrs)?;
        ranks(x.len(), w.len())?;
        if w[1].checked_mul(group) != Some(x[1]) || !w[0].is_multiple_of(group) {
            let what = format!("{} channels do not convolve with weights {w:?} in {group} groups", x[1]);
            return Err(OpError::shape(what));
        }
        let window = Window::of_conv(attrs, &w[2..])?;
        let (out, before) = window.over_fixed(&x[2..])?;
        let shape = [&[x[0], w[0]], out.as_slice()].concat();
        Ok(Plan { shape, window, before, group })
    }

    /// Convolves `x` of shape `xs` with `w` of shape `ws`; results start as `init(channel)`.
    ///
    /// # Errors
    /// When the window has too many elements.
    pub fn run<A: Copy + AddAssign + Mul<Output = A>>(
        &self,
        (x, xs): (&[A], &[usize]),
        (w, ws): (&[A], &[usize]),
        init: impl Fn(usize) -> A,
    ) -> Result<Vec<A>, OpError> {
        let taps = self.window.taps(&xs[2..], &self.shape[2..], &self.before)?;
        let (m, plane): (usize, usize) = (self.shape[1], self.shape[2..].iter().product());
        let (c, image): (usize, usize) = (ws[1], xs[2..].iter().product());
        let step = self.window.strides.last().copied().unwrap_or(1);
        let mut out = Vec::with_capacity(xs[0] * m * plane);
        for n in 0..xs[0] {
            for o in 0..m {
                let base = out.len();
                out.resize(base + plane, init(o));
                let y = &mut out[base..];
                let first = n * xs[1] + o / (m / self.group) * c;
                for i in 0..c {
                    let x = &x[(first + i) * image..][..image];
                    let w = &w[(o * c + i) * taps.len()..][..taps.len()];
                    for (runs, w) in taps.iter().zip(w) {
                        for r in runs {
                            let x = x[r.x..].iter().step_by(step);
                            y[r.out..][..r.len].iter_mut().zip(x).for_each(|(y, x)| *y += *w * *x);
                        }
                    }
                }
            }
        }
        Ok(out)
    }
}
