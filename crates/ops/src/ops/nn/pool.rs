//! What the pooling operators share: attributes, inference, the walk over windows, lowering.

use crate::window::{Inside, Window};
use crate::{EvalCx, InferCx, LowerCx, Lowered, OpError};
use planc_kir::{Kernel, Pool, PoolKind};
use planc_tensor::{Dim, contiguous_strides};

/// Inference: the element type of operand 0, one element per window. `results` results have this shape.
pub(crate) fn infer(cx: &mut InferCx<'_>) -> Result<Option<Vec<Dim>>, OpError> {
    let dtype = cx.dtype(0)?;
    let Some(x) = cx.shape(0)? else {
        let rank = cx.ints("kernel_shape").map(|k| k.len() + 2).filter(|r| *r <= 64);
        let shape: Option<Vec<Dim>> = rank.map(|r| (0..r).map(|i| cx.fresh(0, i)).collect());
        cx.set_shape(0, dtype, shape.clone());
        return Ok(shape);
    };
    if x.len() < 3 {
        return Err(OpError::shape(format!("data of rank {} has no spatial axes", x.len())));
    }
    let window = Window::of_pool(cx.attrs(), x.len() - 2)?;
    let mut shape = x[..2].to_vec();
    shape.extend(window.over(&x[2..])?.0);
    cx.set_tensor(0, dtype, shape.clone());
    Ok(Some(shape))
}

/// A pooling about to run.
pub(crate) struct Walk {
    /// The result's shape.
    pub shape: Vec<usize>,
    /// The window.
    pub window: Window,
    /// Padding before, per spatial axis.
    pub before: Vec<usize>,
    spatial: Vec<usize>,
}

impl Walk {
    /// Checks shape and attributes.
    pub fn new(cx: &EvalCx<'_>, x: &[usize]) -> Result<Walk, OpError> {
        if x.len() < 3 {
            return Err(OpError::shape(format!("data of rank {} has no spatial axes", x.len())));
        }
        let window = Window::of_pool(cx.attrs(), x.len() - 2)?;
        let (out, before) = window.over_fixed(&x[2..])?;
        let shape = [&x[..2], out.as_slice()].concat();
        Ok(Walk { shape, window, before, spatial: x[2..].to_vec() })
    }

    /// Calls `window` for every window of one plane, in order, with its position and where it is inside the data.
    pub fn windows(&self, mut window: impl FnMut(&[usize], &[Inside])) {
        let out = &self.shape[2..];
        if out.contains(&0) {
            return;
        }
        let rank = out.len();
        let mut index = vec![0; rank];
        let at = |i: usize, o: usize| self.window.inside(i, o, self.spatial[i], self.before[i]);
        let mut inside: Vec<Inside> = (0..rank).map(|i| at(i, 0)).collect();
        loop {
            window(&index, &inside);
            let Some(i) = (0..rank).rev().find(|i| index[*i] + 1 < out[*i]) else { return };
            index[i] += 1;
            inside[i] = at(i, index[i]);
            for j in i + 1..rank {
                index[j] = 0;
                inside[j] = at(j, 0);
            }
        }
    }

    /// Calls `f` with the offsets within the plane of a window's elements, in order.
    pub fn elements(&self, inside: &[Inside], mut f: impl FnMut(usize)) {
        let strides = contiguous_strides(&self.spatial);
        self.axis(inside, &strides, 0, 0, &mut f);
    }

    fn axis(&self, inside: &[Inside], strides: &[usize], i: usize, base: usize, f: &mut impl FnMut(usize)) {
        let Some(range) = inside.get(i) else { return f(base) };
        for k in 0..range.count {
            let at = base + (range.at + k * self.window.dilations[i]) * strides[i];
            self.axis(inside, strides, i + 1, at, f);
        }
    }
}

/// Lowering to a `Pool` kernel.
pub(crate) fn lower(cx: &LowerCx<'_>, kind: PoolKind) -> Lowered {
    let pool = || {
        let spatial = cx.shape(0).ok()??.get(2..)?;
        let window = Window::of_pool(cx.attrs(), spatial.len()).ok()?;
        let (_, pads) = window.over(spatial).ok()?;
        let Window { kernel, strides, dilations, .. } = window;
        Some(Pool { kind, kernel, strides, dilations, pads })
    };
    pool().map_or(Lowered::Reference, |p| Lowered::kernel(Kernel::Pool(p), 1))
}
