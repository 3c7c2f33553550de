//! Kernels that move a window over spatial axes.

use super::array::Array;
use super::index::indices;
use super::reduce::lowest;
use super::scalar::Scalar;
use super::{Cx, InterpError, MAX_ELEMENTS, Result, shape_error};
use crate::{Conv, Pool, PoolKind};
use planc_tensor::{Dim, Tensor};

/// Where windows lie: per spatial axis the window's extent, step, distance and padding.
struct Geometry {
    strides: Vec<usize>,
    dilations: Vec<usize>,
    pads: Vec<[i128; 2]>,
}

impl Geometry {
    fn new(
        cx: &Cx<'_>,
        kernel: &[usize],
        strides: &[usize],
        dilations: &[usize],
        pads: &[[Dim; 2]],
        rank: usize,
    ) -> Result<Geometry> {
        if [kernel.len(), strides.len(), dilations.len(), pads.len()].iter().any(|n| *n != rank) {
            return shape_error(format!("the window has not {rank} axes"));
        }
        if strides.contains(&0) || dilations.contains(&0) || kernel.contains(&0) {
            return shape_error("a window's extent, stride or dilation is 0");
        }
        let steps = cx.shape(0)?.iter().chain(kernel).try_fold(1usize, |n, d| n.checked_mul((*d).max(1)));
        if steps.is_none_or(|n| n > MAX_ELEMENTS * 16) {
            return Err(InterpError::Limit("the windows have too many elements".into()));
        }
        let pads = pads.iter().map(|[b, a]| Ok([cx.dim(b)?, cx.dim(a)?])).collect::<Result<_>>()?;
        Ok(Geometry { strides: strides.to_vec(), dilations: dilations.to_vec(), pads })
    }

    /// Where element `k` of the window at `o` lies on axis `a`, padding before the axis being negative.
    fn position(&self, a: usize, o: usize, k: usize) -> i128 {
        o as i128 * self.strides[a] as i128 + k as i128 * self.dilations[a] as i128 - self.pads[a][0]
    }

    /// The operand's index under element `k` of window `o`, if it is inside.
    fn inside(&self, o: &[usize], k: &[usize], extents: &[usize]) -> Option<Vec<usize>> {
        let at = |a: usize| usize::try_from(self.position(a, o[a], k[a])).ok().filter(|i| *i < extents[a]);
        (0..extents.len()).map(at).collect()
    }
}

fn all_of_a_kind(cx: &Cx<'_>, arrays: &[Option<&Array>]) -> Result<()> {
    let float = cx.dtype(0)?.is_float();
    if arrays.iter().flatten().any(|a| a.dtype.is_float() != float) {
        return Err(InterpError::Type("operands and result mix floats and integers".into()));
    }
    Ok(())
}

/// The operand's batch, channels and spatial extents.
fn image(x: &Array) -> Result<(usize, usize, Vec<usize>)> {
    match x.shape.as_slice() {
        [n, c, spatial @ ..] => Ok((*n, *c, spatial.to_vec())),
        _ => shape_error(format!("{:?} has no batch and channel axis", x.shape)),
    }
}

pub(super) fn conv(cx: &Cx<'_>, c: &Conv) -> Result<Vec<Tensor>> {
    convolve(cx, c, &cx.array(0)?, &cx.array(1)?, cx.optional_array(2)?)
}

/// Zero points are taken off first; what is left is a convolution.
pub(super) fn conv_integer(cx: &Cx<'_>, c: &Conv) -> Result<Vec<Tensor>> {
    let (x, w) = (cx.array(0)?, cx.array(1)?);
    let per_channel = cx.optional_array(3)?.map(|mut z| {
        // One per output channel: the first axis of w.
        if z.shape.len() == 1 && z.data.len() > 1 {
            z.shape.resize(w.shape.len().max(1), 1);
        }
        z
    });
    convolve(cx, c, &x.less(cx.optional_array(2)?.as_ref())?, &w.less(per_channel.as_ref())?, None)
}

fn convolve(cx: &Cx<'_>, c: &Conv, x: &Array, w: &Array, bias: Option<Array>) -> Result<Vec<Tensor>> {
    all_of_a_kind(cx, &[Some(x), Some(w), bias.as_ref()])?;
    let (n, channels, spatial) = image(x)?;
    let (m, per_group, kernel) = image(w)?;
    if c.group == 0 || m % c.group != 0 || per_group.checked_mul(c.group) != Some(channels) {
        return shape_error(format!("{:?} and {:?} do not make {} groups", x.shape, w.shape, c.group));
    }
    let g = Geometry::new(cx, &kernel, &c.strides, &c.dilations, &c.pads, spatial.len())?;
    let mut shape = vec![n, m];
    for (a, d) in spatial.iter().enumerate() {
        let reach = *d as i128 + g.pads[a][0] + g.pads[a][1] - (kernel[a] as i128 - 1) * g.dilations[a] as i128 - 1;
        let count = if reach < 0 { 0 } else { reach / g.strides[a] as i128 + 1 };
        shape.push(usize::try_from(count).unwrap_or(usize::MAX));
    }
    if shape != cx.shape(0)? {
        return shape_error(format!("the result is {:?}, not {shape:?}", cx.shape(0)?));
    }
    if let Some(b) = &bias {
        b.expect(&[m], "the bias")?;
    }
    let dtype = cx.dtype(0)?;
    let element = |o: Vec<usize>| {
        let group = o[1] / (m / c.group);
        let mut sum = bias.as_ref().map_or(Scalar::zero(dtype), |b| b.at(&[o[1]]));
        for k in indices(&kernel) {
            let Some(at) = g.inside(&o[2..], &k, &spatial) else { continue };
            for i in 0..per_group {
                let x = x.at(&[&[o[0], group * per_group + i], at.as_slice()].concat());
                let w = w.at(&[&[o[1], i], k.as_slice()].concat());
                sum = sum.plus(x.times(w));
            }
        }
        sum
    };
    cx.store(indices(&shape).map(element).collect())
}

pub(super) fn conv_transpose(cx: &Cx<'_>, c: &Conv) -> Result<Vec<Tensor>> {
    let (x, w, bias) = (cx.array(0)?, cx.array(1)?, cx.optional_array(2)?);
    all_of_a_kind(cx, &[Some(&x), Some(&w), bias.as_ref()])?;
    let (n, channels, spatial) = image(&x)?;
    let (in_channels, per_group, kernel) = image(&w)?;
    if c.group == 0 || channels % c.group != 0 || in_channels != channels {
        return shape_error(format!("{:?} and {:?} do not make {} groups", x.shape, w.shape, c.group));
    }
    let Some(m) = per_group.checked_mul(c.group) else { return shape_error("too many channels") };
    let g = Geometry::new(cx, &kernel, &c.strides, &c.dilations, &c.pads, spatial.len())?;
    let shape = cx.shape(0)?;
    let [batch, out_channels, extents @ ..] = shape else { return shape_error("the result has no channels") };
    if (*batch, *out_channels, extents.len()) != (n, m, spatial.len()) {
        return shape_error(format!("the result is {shape:?} for {:?} and {:?}", x.shape, w.shape));
    }
    if let Some(b) = &bias {
        b.expect(&[m], "the bias")?;
    }
    let dtype = cx.dtype(0)?;
    let mut out: Vec<Scalar> =
        indices(shape).map(|o| bias.as_ref().map_or(Scalar::zero(dtype), |b| b.at(&[o[1]]))).collect();
    for i in indices(&x.shape) {
        let group = i[1] / (channels / c.group);
        for k in indices(&kernel) {
            let Some(at) = g.inside(&i[2..], &k, extents) else { continue };
            for o in 0..per_group {
                let to = [&[i[0], group * per_group + o], at.as_slice()].concat();
                let to = super::index::flatten(shape, &to);
                out[to] = out[to].plus(x.at(&i).times(w.at(&[&[i[1], o], k.as_slice()].concat())));
            }
        }
    }
    cx.store(out)
}

pub(super) fn pool(cx: &Cx<'_>, p: &Pool) -> Result<Vec<Tensor>> {
    let x = cx.array(0)?;
    let (n, channels, spatial) = image(&x)?;
    if p.kind != PoolKind::Max {
        x.expect_float()?;
    }
    let g = Geometry::new(cx, &p.kernel, &p.strides, &p.dilations, &p.pads, spatial.len())?;
    let shape = cx.shape(0)?;
    if shape.len() != x.shape.len() || shape[..2] != [n, channels] || cx.dtype(0)? != x.dtype {
        return shape_error(format!("the result is {}{shape:?} for {}{:?}", cx.dtype(0)?, x.dtype, x.shape));
    }
    let element = |o: Vec<usize>| {
        let (mut inside, mut padded) = (vec![], 0usize);
        for k in indices(&p.kernel) {
            if let Some(at) = g.inside(&o[2..], &k, &spatial) {
                inside.push(x.at(&[&o[..2], at.as_slice()].concat()));
            }
            let within = |a: usize| {
                let at = g.position(a, o[2 + a], k[a]);
                at >= -g.pads[a][0] && at < spatial[a] as i128 + g.pads[a][1]
            };
            padded += usize::from((0..spatial.len()).all(within));
        }
        let count = |pad: bool| if pad { padded } else { inside.len() } as f64;
        match p.kind {
            PoolKind::Max => inside.into_iter().fold(lowest(x.dtype, true), |a, b| a.extremum(b, true)),
            PoolKind::Average { count_pad } => {
                Scalar::Float(inside.iter().map(|v| v.as_f64()).sum::<f64>() / count(count_pad))
            }
            PoolKind::Lp { p } => {
                let sum: f64 = inside.iter().map(|v| v.as_f64().abs().powf(p as f64)).sum();
                Scalar::Float(sum.powf(1.0 / p as f64))
            }
        }
    };
    cx.store(indices(shape).map(element).collect())
}
