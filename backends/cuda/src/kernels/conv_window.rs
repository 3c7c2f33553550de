//! Where the factors of a convolution are: it is a product of weights (rows: output channels) and of a matrix that is never
//! stored (columns: output positions; k: input channels, then window elements), whose elements are found on the fly.

use super::entry::{Entry, Size, count, divide};
use super::gemm_tile::{Line, Source, element};
use super::index::coordinates;
use crate::ptx::{Class, Cmp, Int2, Operand, Reg, Ty};
use planc_kir::Conv;
use planc_tensor::{DType, Dim};

/// One spatial axis of a window.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    /// Extent of the image.
    pub(super) extent: Dim,
    /// Elements of the image between neighbours.
    pub(super) pitch: Dim,
    /// Extent of the result.
    pub(super) out: Dim,
    /// Elements of the window.
    pub(super) taps: u32,
    stride: u32,
    dilation: u32,
    before: i32,
    /// No element of a window lies outside.
    inside: bool,
}

/// The geometry of a convolution, its gradient where `transposed`.
#[derive(Clone, Debug)]
pub(super) struct Window {
    /// Spatial axes.
    pub(super) axes: Vec<Axis>,
    /// Gradient.
    pub(super) transposed: bool,
}

impl Window {
    /// The window of `c` over an image and a result of these spatial extents.
    ///
    /// # Errors
    /// When something is known only at run time, or out of range.
    pub(super) fn new(c: &Conv, [image, kernel, out]: [&[Dim]; 3], transposed: bool) -> Result<Window, String> {
        let lens = [kernel.len(), out.len(), c.strides.len(), c.dilations.len(), c.pads.len()];
        if lens.iter().any(|n| *n != image.len()) || image.is_empty() {
            return Err("the window has another rank than the image".into());
        }
        let small = |v: usize| u32::try_from(v).ok().filter(|v| (1..1 << 16).contains(v));
        let limit = || "the window is too large".to_string();
        let mut axes = vec![];
        for (a, extent) in image.iter().enumerate() {
            let taps = kernel[a].as_usize().ok_or("the window is known only at run time")?;
            let pads: Option<Vec<i64>> = c.pads[a].iter().map(Dim::as_const).collect();
            let pads = pads.ok_or("the padding is known only at run time")?;
            let before = i32::try_from(pads[0]).ok().filter(|p| p.unsigned_abs() < 1 << 24).ok_or_else(limit)?;
            axes.push(Axis {
                extent: extent.clone(),
                pitch: count(&image[a + 1..])?,
                out: out[a].clone(),
                taps: small(taps).ok_or_else(limit)?,
                stride: small(c.strides[a]).ok_or_else(limit)?,
                dilation: small(c.dilations[a]).ok_or_else(limit)?,
                before,
                inside: !transposed && pads.iter().all(|p| *p <= 0),
            });
        }
        Ok(Window { axes, transposed })
    }

    /// Elements of the window.
    pub(super) fn taps(&self) -> u32 {
        self.axes.iter().map(|a| a.taps).product()
    }

    /// Spatial extents of the result.
    pub(super) fn out(&self) -> Vec<Dim> {
        self.axes.iter().map(|a| a.out.clone()).collect()
    }

    /// Whether every element of the image is used once, where it is.
    pub(super) fn is_identity(&self) -> bool {
        self.axes.iter().all(|a| a.taps == 1 && a.stride == 1 && a.before == 0 && a.out == a.extent)
    }
}

/// The columns of a group's image.
pub(super) struct Columns<'w> {
    /// Address of the group's first channel in the first image.
    pub(super) base: Reg,
    /// Element type.
    pub(super) dtype: DType,
    /// Geometry.
    pub(super) window: &'w Window,
    /// Images.
    pub(super) batch: Dim,
    /// Channels of an image, of all groups.
    pub(super) channels: Dim,
    /// Channels of a group.
    pub(super) depth: Dim,
}

impl Columns<'_> {
    /// Elements of a channel.
    fn plane(&self) -> Result<Dim, String> {
        self.window.axes.iter().try_fold(Dim::from(1usize), |n, a| count(&[n, a.extent.clone()]))
    }

    /// The image and the position within it of a column.
    pub(super) fn position(&self, e: &mut Entry, column: Reg) -> Result<(Reg, Reg), String> {
        let positions = e.size(&count(&self.window.out())?)?;
        if self.batch.as_const() == Some(1) {
            return Ok((e.b.mov(Class::B32, 0u32), column));
        }
        Ok(e.div_rem(column, positions))
    }
}

impl Source for Columns<'_> {
    fn dtype(&self) -> DType {
        self.dtype
    }

    fn along_k(&self) -> bool {
        false
    }

    fn vectors(&self) -> bool {
        false
    }

    /// State: address of the image, offset of the window's first element, its coordinates (of a gradient: address, and
    /// the result's coordinates with the padding).
    fn line(&self, e: &mut Entry, column: Reg) -> Result<Line, String> {
        let all = count(&[std::slice::from_ref(&self.batch), &self.window.out()].concat())?;
        let all = e.size(&all)?;
        let exists = e.b.setp(Cmp::Lt, Ty::U32, column, all);
        let (image, position) = self.position(e, column)?;
        let mut base = self.base;
        if self.batch.as_const() != Some(1) {
            let size = e.size(&count(&[self.channels.clone(), self.plane()?])?)?;
            let offset = e.b.mul(Ty::U32, image, size);
            base = element(e, base, offset, self.dtype);
        }
        let at = coordinates(e, position, &self.window.out())?;
        let (mut starts, mut first) = (vec![], None);
        for (axis, o) in self.window.axes.iter().zip(at) {
            if self.window.transposed {
                starts.push(e.b.add(Ty::U32, o, axis.before));
                continue;
            }
            let start = e.b.mad(Ty::U32, o, axis.stride, -axis.before);
            let pitch = e.size(&axis.pitch)?;
            first = Some(plus(e, first, start, pitch));
            starts.push(start);
        }
        let first = first.unwrap_or(position);
        Ok(Line { exists: Some(exists), state: [&[base, first], &starts[..]].concat() })
    }

    /// State: offset of the channel and of the element within the window, its distances from the window's first (of a
    /// gradient: offset of the channel, and the distances).
    fn depth(&self, e: &mut Entry, k: Reg) -> Result<Vec<Reg>, String> {
        let taps = self.window.axes.iter().map(|a| Dim::from(a.taps as usize));
        let extents: Vec<Dim> = [self.depth.clone()].into_iter().chain(taps).collect();
        let at = coordinates(e, k, &extents)?;
        let plane = e.size(&self.plane()?)?;
        let mut offset = e.b.mul(Ty::U32, at[0], plane);
        let mut distances = vec![];
        for (axis, tap) in self.window.axes.iter().zip(&at[1..]) {
            let distance = e.b.mul(Ty::U32, *tap, axis.dilation);
            if !self.window.transposed {
                let pitch = e.size(&axis.pitch)?;
                offset = plus(e, Some(offset), distance, pitch);
            }
            distances.push(distance);
        }
        Ok([&[offset], &distances[..]].concat())
    }

    fn at(&self, e: &mut Entry, line: &Line, depth: &[Reg]) -> Result<(Reg, Option<Reg>), String> {
        let (base, first, starts) = (line.state[0], line.state[1], &line.state[2..]);
        let (mut offset, distances) = (depth[0], &depth[1..]);
        let mut exists: Option<Reg> = None;
        if !self.window.transposed {
            offset = e.b.add(Ty::U32, offset, first);
        }
        for ((axis, start), distance) in self.window.axes.iter().zip(starts).zip(distances) {
            let mut also = |e: &mut Entry, p: Reg| exists = Some(exists.map_or(p, |q| e.b.both(q, p)));
            let extent = e.size(&axis.extent)?;
            if !self.window.transposed {
                if !axis.inside {
                    // Before the axis is negative, which is far behind it as an unsigned number.
                    let position = e.b.add(Ty::U32, *start, *distance);
                    let p = e.b.setp(Cmp::Lt, Ty::U32, position, extent);
                    also(e, p);
                }
                continue;
            }
            let steps = e.b.sub(Ty::U32, *start, *distance);
            let position = if axis.stride == 1 { steps } else { divide(&mut e.b, steps, Size::Const(axis.stride)) };
            let p = e.b.setp(Cmp::Lt, Ty::U32, position, extent);
            also(e, p);
            if axis.stride > 1 {
                let p = e.b.setp(Cmp::Ge, Ty::S32, steps, 0u32);
                also(e, p);
                let back = e.b.mul(Ty::U32, position, axis.stride);
                let p = e.b.setp(Cmp::Eq, Ty::U32, back, steps);
                also(e, p);
            }
            let pitch = e.size(&axis.pitch)?;
            offset = plus(e, Some(offset), position, pitch);
        }
        Ok((element(e, base, offset, self.dtype), exists))
    }
}

/// `sum + a * pitch`.
fn plus(e: &mut Entry, sum: Option<Reg>, a: Reg, pitch: Size) -> Reg {
    match (sum, pitch) {
        (None, Size::Const(1)) => a,
        (None, pitch) => e.b.mul(Ty::U32, a, pitch),
        (Some(s), Size::Const(1)) => e.b.add(Ty::U32, s, a),
        (Some(s), pitch) => e.b.mad(Ty::U32, a, pitch, s),
    }
}

/// The weights of a group of a gradient: `[channels in, channels out, window]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct TransposedWeights {
    /// Address of the group's first.
    pub(super) base: Reg,
    /// Element type.
    pub(super) dtype: DType,
    /// Output channels of the group.
    pub(super) rows: u32,
    /// Elements of the window.
    pub(super) taps: u32,
}

impl Source for TransposedWeights {
    fn dtype(&self) -> DType {
        self.dtype
    }

    fn along_k(&self) -> bool {
        self.taps > 1
    }

    fn vectors(&self) -> bool {
        false
    }

    fn line(&self, e: &mut Entry, row: Reg) -> Result<Line, String> {
        let exists = e.b.setp(Cmp::Lt, Ty::U32, row, self.rows);
        Ok(Line { exists: Some(exists), state: vec![e.b.mul(Ty::U32, row, self.taps)] })
    }

    fn depth(&self, e: &mut Entry, k: Reg) -> Result<Vec<Reg>, String> {
        let (channel, tap) = e.div_rem(k, Size::Const(self.taps));
        let offset: Operand = self.rows.wrapping_mul(self.taps).into();
        Ok(vec![e.b.mad(Ty::U32, channel, offset, tap)])
    }

    fn at(&self, e: &mut Entry, line: &Line, depth: &[Reg]) -> Result<(Reg, Option<Reg>), String> {
        let offset = e.b.int2(Int2::Add, Ty::U32, line.state[0], depth[0]);
        Ok((element(e, self.base, offset, self.dtype), None))
    }
}
