//! Geometry of sliding windows: what convolutions and poolings share.
//!
//! Every attribute is checked here once: counts, signs, sizes, padding modes. Extents may be symbolic; all
//! arithmetic is on [`Dim`], which saturates, or on numbers bounded by [`MAX`]. Formulas: ONNX `Conv`, `MaxPool`.

use crate::error::OpError;
use planc_ir::Attrs;
use planc_tensor::{Dim, element_count};

/// Kernel extents, strides, dilations and pads are refused above this.
pub const MAX: i64 = 1 << 31;

/// Where padding comes from.
#[derive(Clone, Debug, PartialEq)]
enum Padding {
    Explicit(Vec<[usize; 2]>),
    Valid,
    SameUpper,
    SameLower,
}

/// A window over the spatial axes, one entry per axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// Extents.
    pub kernel: Vec<usize>,
    /// Steps.
    pub strides: Vec<usize>,
    /// Distances of elements.
    pub dilations: Vec<usize>,
    padding: Padding,
    ceil: bool,
}

/// Numbers of attribute `name`, `rank` of them and each at least `min`.
fn numbers(attrs: &Attrs, name: &str, rank: usize, min: i64) -> Result<Option<Vec<usize>>, OpError> {
    let Some(v) = attrs.ints(name).filter(|v| !v.is_empty()) else { return Ok(None) };
    if v.len() != rank {
        return Err(OpError::attribute(format!("{name} has {} numbers, not {rank}", v.len())));
    }
    if let Some(bad) = v.iter().find(|v| **v < min || **v > MAX) {
        return Err(OpError::attribute(format!("{name} has {bad}, which is not in {min}..={MAX}")));
    }
    Ok(Some(v.iter().map(|v| *v as usize).collect()))
}

impl Window {
    /// The window of a pooling operator: `kernel_shape` says its extents.
    ///
    /// # Errors
    /// When an attribute is wrong.
    pub fn of_pool(attrs: &Attrs, rank: usize) -> Result<Window, OpError> {
        let kernel = numbers(attrs, "kernel_shape", rank, 1)?;
        Window::read(attrs, kernel.ok_or_else(|| OpError::attribute("kernel_shape is missing"))?)
    }

    /// The window of a convolution whose weights have spatial extents `kernel`.
    ///
    /// # Errors
    /// When an attribute is wrong or `kernel_shape` is not what the weights have.
    pub fn of_conv(attrs: &Attrs, kernel: &[usize]) -> Result<Window, OpError> {
        if let Some(declared) = numbers(attrs, "kernel_shape", kernel.len(), 1)?
            && declared != kernel
        {
            return Err(OpError::shape(format!("kernel_shape is {declared:?}, the weights have {kernel:?}")));
        }
        if let Some(bad) = kernel.iter().find(|k| **k == 0 || **k as u64 > MAX as u64) {
            return Err(OpError::shape(format!("the weights have spatial extent {bad}")));
        }
        Window::read(attrs, kernel.to_vec())
    }

    fn read(attrs: &Attrs, kernel: Vec<usize>) -> Result<Window, OpError> {
        let rank = kernel.len();
        let strides = numbers(attrs, "strides", rank, 1)?.unwrap_or_else(|| vec![1; rank]);
        let dilations = numbers(attrs, "dilations", rank, 1)?.unwrap_or_else(|| vec![1; rank]);
        let padding = match attrs.str("auto_pad").unwrap_or("NOTSET") {
            "NOTSET" | "" => {
                let doubled = rank.saturating_mul(2);
                let pads = numbers(attrs, "pads", doubled, 0)?.unwrap_or_else(|| vec![0; doubled]);
                Padding::Explicit((0..rank).map(|i| [pads[i], pads[i + rank]]).collect())
            }
            "VALID" => Padding::Valid,
            "SAME_UPPER" => Padding::SameUpper,
            "SAME_LOWER" => Padding::SameLower,
            other => return Err(OpError::attribute(format!("auto_pad is {other:?}"))),
        };
        let ceil = attrs.int("ceil_mode").is_some_and(|v| v != 0);
        Ok(Window { kernel, strides, dilations, padding, ceil })
    }

    /// Input elements that the window spans along spatial axis `i`.
    pub fn span(&self, i: usize) -> Dim {
        Dim::from(self.kernel[i] - 1) * Dim::from(self.dilations[i]) + Dim::from(1i64)
    }

    /// Number of windows and padding along spatial axis `i` of extent `d`.
    ///
    /// # Errors
    /// When no window fits.
    pub fn along(&self, i: usize, d: &Dim) -> Result<(Dim, [Dim; 2]), OpError> {
        let (one, zero) = (Dim::from(1i64), Dim::from(0i64));
        let (stride, span) = (Dim::from(self.strides[i]), self.span(i));
        let (count, pads) = match &self.padding {
            Padding::SameUpper | Padding::SameLower => {
                let count = d.ceil_div(&stride);
                let covered = (count.clone() - one) * stride + span;
                let total = (covered - d.clone()).maximum(&zero);
                let less = total.floor_div(&Dim::from(2i64));
                let more = total - less.clone();
                let pads = if self.padding == Padding::SameUpper { [less, more] } else { [more, less] };
                return Ok((count, pads));
            }
            Padding::Valid => ((d.clone() - span.clone()).floor_div(&stride) + one, [zero.clone(), zero]),
            Padding::Explicit(pads) => {
                let [before, after] = pads[i].map(Dim::from);
                let room = d.clone() + before.clone() + after.clone() - span.clone();
                let count = if self.ceil {
                    // Windows that would start in the padding after the end are left out.
                    let fits = room.ceil_div(&stride) + one;
                    let starts = (d.clone() + before.clone()).ceil_div(&stride);
                    match (after.clone() + stride.clone() - span.clone()).as_const() {
                        Some(v) if v <= 0 => fits,
                        Some(v) if v >= self.strides[i] as i64 => starts,
                        _ => fits.minimum(&starts),
                    }
                } else {
                    room.floor_div(&stride) + one
                };
                (count, [before, after])
            }
        };
        if count.as_const().is_some_and(|c| c <= 0) {
            let what = format!("a window of {span} does not fit spatial axis {i} of extent {d}, padded by ");
            return Err(OpError::shape(format!("{what}{} and {}", pads[0], pads[1])));
        }
        Ok((count, pads))
    }

    /// Numbers of windows and padding along all spatial axes.
    ///
    /// # Errors
    /// As [`Window::along`].
    pub fn over(&self, spatial: &[Dim]) -> Result<(Vec<Dim>, Vec<[Dim; 2]>), OpError> {
        let along: Result<Vec<_>, _> = spatial.iter().enumerate().map(|(i, d)| self.along(i, d)).collect();
        Ok(along?.into_iter().unzip())
    }

    /// As [`Window::over`] for known extents.
    ///
    /// # Errors
    /// As [`Window::along`].
    pub fn over_fixed(&self, spatial: &[usize]) -> Result<(Vec<usize>, Vec<usize>), OpError> {
        let (out, pads) = self.over(&spatial.iter().map(|d| Dim::from(*d)).collect::<Vec<_>>())?;
        let fixed = |d: &Dim| d.as_usize().ok_or_else(|| OpError::limit(format!("extent {d} is out of range")));
        Ok((
            out.iter().map(fixed).collect::<Result<_, _>>()?,
            pads.iter().map(|p| fixed(&p[0])).collect::<Result<_, _>>()?,
        ))
    }

    /// Which positions window `o` covers along axis `i` of extent `extent`, `before` padding: the first window element
    /// inside, how many are inside, and the position of the first.
    pub fn inside(&self, i: usize, o: usize, extent: usize, before: usize) -> Inside {
        let (k, d) = (self.kernel[i] as i128, self.dilations[i] as i128);
        let start = o as i128 * self.strides[i] as i128 - before as i128;
        let first = if start < 0 { (-start + d - 1) / d } else { 0 };
        let end = (extent as i128 - start + d - 1).div_euclid(d).clamp(first.min(k), k);
        let first = first.min(end);
        Inside { first: first as usize, count: (end - first) as usize, at: (start + first * d).max(0) as usize }
    }

    /// For every window element (row-major), where input and output positions meet, as runs along the last axis.
    ///
    /// # Errors
    /// When there are too many elements.
    pub fn taps(&self, spatial: &[usize], out: &[usize], before: &[usize]) -> Result<Vec<Vec<Run>>, OpError> {
        let taps = element_count(&self.kernel).filter(|n| *n <= 1 << 28);
        let taps = taps.ok_or_else(|| OpError::limit(format!("a window of {:?} is too large", self.kernel)))?;
        let rank = self.kernel.len();
        let mut index = vec![0; rank];
        let mut all = Vec::with_capacity(taps);
        for _ in 0..taps {
            let ranges: Vec<_> = (0..rank).map(|i| self.meets(i, index[i], spatial[i], out[i], before[i])).collect();
            let mut runs = Vec::new();
            if ranges.iter().all(|r| r.count > 0) {
                self.runs(&ranges, spatial, out, &mut runs);
            }
            all.push(runs);
            for i in (0..rank).rev() {
                index[i] += 1;
                if index[i] < self.kernel[i] {
                    break;
                }
                index[i] = 0;
            }
        }
        Ok(all)
    }

    /// The outputs along axis `i` for which window element `k` lies inside: first, count, and its first position.
    fn meets(&self, i: usize, k: usize, extent: usize, out: usize, before: usize) -> Inside {
        let stride = self.strides[i] as i128;
        let offset = k as i128 * self.dilations[i] as i128 - before as i128;
        let first = if offset < 0 { (-offset + stride - 1) / stride } else { 0 };
        let end = (extent as i128 - offset + stride - 1).div_euclid(stride).clamp(0, out as i128);
        let count = (end - first).max(0);
        Inside { first: first as usize, count: count as usize, at: (first * stride + offset).max(0) as usize }
    }

    fn runs(&self, ranges: &[Inside], spatial: &[usize], out: &[usize], runs: &mut Vec<Run>) {
        let last = ranges.len() - 1;
        let mut index = vec![0; last];
        loop {
            let (mut o, mut x) = (0, 0);
            for i in 0..last {
                o = (o + ranges[i].first + index[i]) * out[i + 1];
                x = (x + ranges[i].at + index[i] * self.strides[i]) * spatial[i + 1];
            }
            let run = Run { out: o + ranges[last].first, x: x + ranges[last].at, len: ranges[last].count };
            match runs.last_mut() {
                Some(r) if self.strides[last] == 1 && r.out + r.len == run.out && r.x + r.len == run.x => {
                    r.len += run.len
                }
                _ => runs.push(run),
            }
            let Some(i) = (0..last).rev().find(|i| index[*i] + 1 < ranges[*i].count) else { return };
            index[i] += 1;
            index[i + 1..].fill(0);
        }
    }
}

/// A range along an axis; see [`Window::inside`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Inside {
    /// First element of the range.
    pub first: usize,
    /// Number of elements.
    pub count: usize,
    /// Input position of the first.
    pub at: usize,
}

/// `len` outputs from `out` on that read inputs from `x` on, one stride of the last axis apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Run {
    /// First output offset.
    pub out: usize,
    /// First input offset.
    pub x: usize,
    /// Number of outputs.
    pub len: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attrs(list: &[(&str, &[i64])]) -> Attrs {
        list.iter().fold(Attrs::new(), |a, (n, v)| a.with(*n, v.to_vec()))
    }

    #[test]
    fn hostile_attributes_are_refused() {
        type Case<'a> = (&'a [(&'a str, &'a [i64])], &'a str);
        let bad: [Case<'_>; 7] = [
            (&[("strides", &[0, 1])], "strides has 0"),
            (&[("strides", &[-1, 1])], "strides has -1"),
            (&[("strides", &[1])], "strides has 1 numbers, not 2"),
            (&[("dilations", &[1, i64::MIN])], "dilations has"),
            (&[("pads", &[1, 1])], "pads has 2 numbers, not 4"),
            (&[("pads", &[0, 0, 0, i64::MAX])], "pads has"),
            (&[("kernel_shape", &[5, 5])], "kernel_shape is [5, 5]"),
        ];
        for (list, message) in bad {
            let error = Window::of_conv(&attrs(list), &[3, 3]).unwrap_err();
            assert!(error.message.contains(message), "{error}");
        }
        let unknown = Window::of_conv(&Attrs::new().with("auto_pad", "SAME"), &[3]).unwrap_err();
        assert!(unknown.message.contains("auto_pad"), "{unknown}");
        let huge = Window::of_pool(&attrs(&[("kernel_shape", &[MAX, MAX])]), 2).unwrap();
        assert!(huge.over(&[Dim::from(8i64), Dim::from(8i64)]).is_err());
        assert!(huge.taps(&[8, 8], &[1, 1], &[0, 0]).is_err());
    }

    #[test]
    fn windows_are_counted() {
        let pool = |list| Window::of_pool(&attrs(list), 1).unwrap();
        let count = |w: &Window, d: i64| w.along(0, &Dim::from(d)).unwrap().0.as_const().unwrap();
        assert_eq!(count(&pool(&[("kernel_shape", &[3]), ("strides", &[2])]), 8), 3);
        let mut ceil = pool(&[("kernel_shape", &[3]), ("strides", &[2])]);
        ceil.ceil = true;
        assert_eq!(count(&ceil, 8), 4);
        // The last window would start in the padding.
        let mut past = pool(&[("kernel_shape", &[1]), ("strides", &[2]), ("pads", &[0, 1])]);
        past.ceil = true;
        assert_eq!(count(&past, 4), 2);
        let n = Dim::sym("N");
        let same = Window { padding: Padding::SameUpper, ..pool(&[("kernel_shape", &[3]), ("strides", &[2])]) };
        assert_eq!(same.along(0, &n).unwrap().0, n.ceil_div(&Dim::from(2i64)));
    }
}
