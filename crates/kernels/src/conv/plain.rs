//! Convolution on plain NCHW (or NCL, NCDHW): columns are gathered into panels and multiplied with the weights.
//!
//! Correct for every group count, dilation and pad; each task gathers and multiplies its own stretch of pixels.

use super::{Conv2d, channel_bias, check_residual};
use crate::epilogue::Epilogue;
use crate::gemm::{self, Job};
use crate::isa::Isa;
use crate::micro::PANEL;
use crate::par::{Parallel, Serial, Shared, part};

/// A convolution over three spatial dimensions; fewer are padded in front with 1 (stride and dilation 1, no pads).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlainConv {
    /// Images.
    pub batch: usize,
    /// Input channels, output channels.
    pub channels: (usize, usize),
    /// Groups; both channel counts are multiples.
    pub groups: usize,
    /// Input depth, height, width.
    pub input: [usize; 3],
    /// Kernel sizes.
    pub kernel: [usize; 3],
    /// Strides, at least 1.
    pub stride: [usize; 3],
    /// Dilations, at least 1.
    pub dilation: [usize; 3],
    /// Zeros before.
    pub pads_begin: [usize; 3],
    /// Zeros after.
    pub pads_end: [usize; 3],
}

impl From<&Conv2d> for PlainConv {
    fn from(c: &Conv2d) -> Self {
        Self {
            batch: c.batch,
            channels: c.channels,
            groups: c.groups,
            input: [1, c.input.0, c.input.1],
            kernel: [1, c.kernel.0, c.kernel.1],
            stride: [1, c.stride.0, c.stride.1],
            dilation: [1, c.dilation.0, c.dilation.1],
            pads_begin: [0, c.pads_begin.0, c.pads_begin.1],
            pads_end: [0, c.pads_end.0, c.pads_end.1],
        }
    }
}

impl PlainConv {
    /// Output sizes, as [`Conv2d::output`].
    pub fn output(&self) -> [usize; 3] {
        std::array::from_fn(|d| {
            let padded = self.input[d] + self.pads_begin[d] + self.pads_end[d];
            let reach = self.dilation[d] * self.kernel[d].saturating_sub(1) + 1;
            if padded < reach { 0 } else { (padded - reach) / self.stride[d] + 1 }
        })
    }

    fn check(&self) {
        let Self { channels: (ic, oc), groups, .. } = *self;
        assert!(
            groups > 0 && ic.is_multiple_of(groups) && oc.is_multiple_of(groups),
            "groups do not divide the channels"
        );
        assert!(self.stride.iter().chain(&self.dilation).all(|&d| d > 0), "zero stride or dilation");
    }

    /// Terms of one output.
    fn terms(&self) -> usize {
        self.channels.0 / self.groups * self.kernel.iter().product::<usize>()
    }

    fn pixels(&self) -> usize {
        self.output().iter().product()
    }

    /// Panels of pixels that one task gathers at a time: about half a megabyte.
    fn chunk(&self) -> usize {
        (128 * 1024 / (self.terms().max(1) * PANEL)).clamp(1, self.pixels().div_ceil(PANEL).max(1))
    }

    /// Tasks of one run.
    fn tasks(&self, par: &dyn Parallel) -> usize {
        let units = self.batch * self.groups * self.pixels().div_ceil(PANEL).div_ceil(self.chunk());
        crate::par::cut(par, units, 2 * self.terms() * self.chunk() * PANEL * (self.channels.1 / self.groups))
    }
}

/// Scratch for [`conv_plain`], in floats: gathered columns for each thread.
pub fn plain_scratch(conv: &PlainConv, par: &dyn Parallel) -> usize {
    conv.check();
    conv.tasks(par) * conv.chunk() * conv.terms() * PANEL
}

/// Convolution from NCHW to NCHW with weights as ONNX stores them, `[out][in / groups][kd][kh][kw]`. The bias is per
/// output channel; a residual has the layout of the output.
///
/// # Panics
/// If a slice is shorter than the sizes need (see [`plain_scratch`]).
#[allow(clippy::too_many_arguments)]
pub fn conv_plain(
    isa: Isa,
    par: &dyn Parallel,
    conv: &PlainConv,
    x: &[f32],
    w: &[f32],
    y: &mut [f32],
    epilogue: &Epilogue<'_>,
    scratch: &mut [f32],
) {
    conv.check();
    let (ic, oc) = conv.channels;
    let (gic, goc) = (ic / conv.groups, oc / conv.groups);
    let (pixels, terms) = (conv.pixels(), conv.terms());
    let in_pixels = conv.input.iter().product::<usize>();
    assert!(x.len() >= conv.batch * ic * in_pixels, "x: slice too short");
    assert!(w.len() >= oc * terms, "weights: slice too short");
    assert!(y.len() >= conv.batch * oc * pixels, "y: slice too short");
    check_residual(epilogue, conv.batch * oc * pixels);
    let bias = Shared::from_const(channel_bias(epilogue, oc));
    if conv.batch * oc * pixels == 0 {
        return;
    }
    let stages = epilogue.stages(y.as_ptr());
    let (panels, chunk, tasks) = (pixels.div_ceil(PANEL), conv.chunk(), conv.tasks(par));
    let chunks = panels.div_ceil(chunk);
    let each = chunk * terms * PANEL;
    assert!(scratch.len() >= tasks * each, "scratch: slice too short");
    let (scratch, y) = (Shared::new(scratch), Shared::new(y));
    par.run(tasks, &|task| {
        // SAFETY: each task has its own stretch of the scratch memory.
        let columns = unsafe { std::slice::from_raw_parts_mut(scratch.get().add(task * each), each) };
        for unit in part(conv.batch * conv.groups * chunks, tasks, task) {
            let (image, rest) = (unit / (conv.groups * chunks), unit % (conv.groups * chunks));
            let (group, some) = (rest / chunks, part(panels, chunks, rest % chunks));
            let from = &x[(image * ic + group * gic) * in_pixels..][..gic * in_pixels];
            gather(conv, from, some.clone(), columns);
            let start = some.start * PANEL;
            let at = (image * oc + group * goc) * pixels + start;
            let add = |p: *const f32| if p.is_null() { p } else { p.wrapping_add(at) };
            let mut stages = stages;
            stages.early = add(stages.early);
            stages.late = stages.late.map(|(activation, residual)| (activation, add(residual)));
            let bias = bias.get().cast_const();
            // SAFETY: lengths were checked above; units are disjoint blocks of the output.
            unsafe {
                let job = Job {
                    m: goc,
                    n: (pixels - start).min(some.len() * PANEL),
                    k: terms,
                    a: w.as_ptr().add(group * goc * terms),
                    lda: terms,
                    b: columns.as_ptr(),
                    b_rows: terms,
                    c: y.get().add(at),
                    ldc: pixels,
                    bias: std::ptr::null(),
                    row_bias: if bias.is_null() { bias } else { bias.add(group * goc) },
                    stages,
                    res_ld: pixels,
                    backwards: false,
                };
                gemm::run(isa, &Serial, &job);
            }
        }
    });
}

/// Gathers the inputs of panels of 16 output pixels: `[panel][channel][kd][kh][kw][16]`, zero outside the image.
fn gather(conv: &PlainConv, x: &[f32], panels: std::ops::Range<usize>, out: &mut [f32]) {
    let [_, oh, ow] = conv.output();
    let ([d, h, w], [kd, kh, kw]) = (conv.input, conv.kernel);
    let pixels = conv.pixels();
    let channels = conv.channels.0 / conv.groups;
    let terms = conv.terms();
    if terms == 0 {
        return;
    }
    for (panel, to) in panels.zip(out.chunks_exact_mut(terms * PANEL)) {
        let count = (pixels - panel * PANEL).min(PANEL);
        // First input of each pixel; may lie before the image.
        let mut base = [[0isize; 3]; PANEL];
        for (i, base) in base.iter_mut().enumerate().take(count) {
            let p = panel * PANEL + i;
            let at = [p / (oh * ow), p / ow % oh, p % ow];
            *base = std::array::from_fn(|a| (at[a] * conv.stride[a]) as isize - conv.pads_begin[a] as isize);
        }
        let first = base[0];
        let (one_row, stride) = (count == PANEL && base[PANEL - 1][..2] == first[..2], conv.stride[2]);
        let mut rows = to.chunks_exact_mut(PANEL);
        for c in 0..channels {
            for tap in 0..kd * kh * kw {
                let Some(row) = rows.next() else { return };
                let k = [tap / (kh * kw), tap / kw % kh, tap % kw];
                let off: [isize; 3] = std::array::from_fn(|a| (k[a] * conv.dilation[a]) as isize);
                let index = |b: [isize; 3]| {
                    let [z, y, x]: [usize; 3] = std::array::from_fn(|a| (b[a] + off[a]) as usize);
                    (z < d && y < h && x < w).then(|| ((c * d + z) * h + y) * w + x)
                };
                if one_row && let (Some(from), Some(last)) = (index(first), index(base[PANEL - 1])) {
                    if stride == 1 {
                        row.copy_from_slice(&x[from..=last]);
                    } else {
                        row.iter_mut().zip(x[from..=last].iter().step_by(stride)).for_each(|(value, x)| *value = *x);
                    }
                    continue;
                }
                for (i, value) in row.iter_mut().enumerate() {
                    *value = if i < count { index(base[i]).map_or(0.0, |from| x[from]) } else { 0.0 };
                }
            }
        }
    }
}
