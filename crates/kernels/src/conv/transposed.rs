//! Transposed convolution on plain NCHW: a product with the transposed weights, scattered over the output.

use super::{channel_bias, check_residual};
use crate::epilogue::{Epilogue, LateRun};
use crate::gemm::{self, Job, Mat, pack_b_into, packed_len};
use crate::isa::Isa;
use crate::par::{Parallel, Serial, Shared, part};

/// A transposed convolution over three spatial dimensions; fewer are padded in front with 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransposedConv {
    /// Images.
    pub batch: usize,
    /// Input channels, output channels.
    pub channels: (usize, usize),
    /// Groups; both channel counts are multiples.
    pub groups: usize,
    /// Input depth, height, width.
    pub input: [usize; 3],
    /// Output depth, height, width, which ONNX derives from pads, `output_padding` or `output_shape`.
    pub output: [usize; 3],
    /// Kernel sizes.
    pub kernel: [usize; 3],
    /// Strides, at least 1.
    pub stride: [usize; 3],
    /// Dilations, at least 1.
    pub dilation: [usize; 3],
    /// Outputs cut off in front.
    pub pads_begin: [usize; 3],
}

impl TransposedConv {
    fn check(&self) {
        let Self { channels: (ic, oc), groups, .. } = *self;
        assert!(
            groups > 0 && ic.is_multiple_of(groups) && oc.is_multiple_of(groups),
            "groups do not divide the channels"
        );
    }

    fn taps(&self) -> usize {
        self.kernel.iter().product()
    }

    fn in_pixels(&self) -> usize {
        self.input.iter().product()
    }

    /// Output channels whose products one task holds at a time: about a megabyte.
    fn chunk(&self) -> usize {
        (256 * 1024 / (self.taps() * self.in_pixels()).max(1)).clamp(1, (self.channels.1 / self.groups).max(1))
    }

    fn tasks(&self, par: &dyn Parallel) -> usize {
        let goc = self.channels.1 / self.groups;
        let cost = 2 * self.channels.0 / self.groups * self.taps() * self.in_pixels();
        crate::par::cut(par, goc.div_ceil(self.chunk_for(par)), cost * self.chunk_for(par))
    }

    /// [`TransposedConv::chunk`], smaller if threads would be idle.
    fn chunk_for(&self, par: &dyn Parallel) -> usize {
        self.chunk().min((self.channels.1 / self.groups).div_ceil(par.threads().max(1)).max(1))
    }
}

/// Transposes weights `[in][out / groups][kd][kh][kw]` to `[group][out / groups][kd][kh][kw][in / groups]`.
///
/// # Panics
/// If `w` is too short.
pub fn pack_transposed_weights(conv: &TransposedConv, w: &[f32]) -> Vec<f32> {
    conv.check();
    let (gic, rows) = (conv.channels.0 / conv.groups, conv.channels.1 / conv.groups * conv.taps());
    assert!(w.len() >= conv.channels.0 * rows, "weights: slice too short");
    let mut out = Vec::with_capacity(conv.channels.0 * rows);
    for g in 0..conv.groups {
        for row in 0..rows {
            out.extend((0..gic).map(|i| w[(g * gic + i) * rows + row]));
        }
    }
    out
}

/// Scratch for [`conv_transposed`], in floats.
pub fn transposed_scratch(conv: &TransposedConv, par: &dyn Parallel) -> usize {
    conv.check();
    let columns = conv.chunk_for(par) * conv.taps() * conv.in_pixels();
    packed_len(conv.channels.0 / conv.groups, conv.in_pixels()) + conv.tasks(par) * columns
}

/// Transposed convolution from NCHW to NCHW with weights of [`pack_transposed_weights`]. The bias is per output
/// channel; a residual has the layout of the output and must not be the output.
///
/// # Panics
/// If a slice is shorter than the sizes need (see [`transposed_scratch`]).
#[allow(clippy::too_many_arguments)]
pub fn conv_transposed(
    isa: Isa,
    par: &dyn Parallel,
    conv: &TransposedConv,
    x: &[f32],
    w: &[f32],
    y: &mut [f32],
    epilogue: &Epilogue<'_>,
    scratch: &mut [f32],
) {
    conv.check();
    let (ic, oc) = conv.channels;
    let (gic, goc) = (ic / conv.groups, oc / conv.groups);
    let (taps, in_pixels) = (conv.taps(), conv.in_pixels());
    let pixels = conv.output.iter().product::<usize>();
    assert!(x.len() >= conv.batch * ic * in_pixels, "x: slice too short");
    assert!(w.len() >= ic * goc * taps, "weights: slice too short");
    assert!(y.len() >= conv.batch * oc * pixels, "y: slice too short");
    check_residual(epilogue, conv.batch * oc * pixels);
    let stages = &epilogue.stages(y.as_ptr());
    assert!(!stages.in_place, "residual: the output is overwritten before it is added");
    let bias = Shared::from_const(channel_bias(epilogue, oc));
    let (chunk, tasks) = (conv.chunk_for(par), conv.tasks(par));
    let (packed, columns) = scratch.split_at_mut(packed_len(gic, in_pixels));
    let each = chunk * taps * in_pixels;
    assert!(columns.len() >= tasks * each, "scratch: slice too short");
    if goc == 0 {
        return;
    }
    let columns = Shared::new(columns);
    let y = Shared::new(y);
    for unit in 0..conv.batch * conv.groups {
        let (image, group) = (unit / conv.groups, unit % conv.groups);
        let from = &x[(image * ic + group * gic) * in_pixels..][..gic * in_pixels];
        pack_b_into(par, gic, in_pixels, Mat::rows(from, in_pixels), packed);
        let packed = &*packed;
        par.run(tasks, &|task| {
            let chunks = goc.div_ceil(chunk);
            for c in part(chunks, tasks, task) {
                let outs = c * chunk..((c + 1) * chunk).min(goc);
                // SAFETY: each task has its own columns and its own output channels; lengths were checked above.
                unsafe {
                    let columns = std::slice::from_raw_parts_mut(columns.get().add(task * each), each);
                    let job = Job {
                        m: outs.len() * taps,
                        n: in_pixels,
                        k: gic,
                        a: w.as_ptr().add((group * goc + outs.start) * taps * gic),
                        lda: gic,
                        b: packed.as_ptr(),
                        b_rows: gic,
                        c: columns.as_mut_ptr(),
                        ldc: in_pixels,
                        bias: std::ptr::null(),
                        row_bias: std::ptr::null(),
                        stages: Epilogue::default().stages(columns.as_ptr()),
                        res_ld: 0,
                        backwards: false,
                    };
                    if in_pixels > 0 {
                        gemm::run(isa, &Serial, &job);
                    }
                    for (o, columns) in outs.clone().zip(columns.chunks(taps * in_pixels.max(1))) {
                        let channel = group * goc + o;
                        let at = (image * oc + channel) * pixels;
                        let out = std::slice::from_raw_parts_mut(y.get().add(at), pixels);
                        let start = if bias.get().is_null() { 0.0 } else { *bias.get().add(channel) };
                        out.fill(start);
                        scatter(conv, columns, out);
                        if !stages.early.is_null() {
                            let residual = std::slice::from_raw_parts(stages.early.add(at), pixels);
                            out.iter_mut().zip(residual).for_each(|(y, r)| *y += r);
                        }
                        let (activation, residual) = stages.late.unwrap_or((epilogue.activation, std::ptr::null()));
                        let residual = if residual.is_null() { residual } else { residual.add(at) };
                        let data = out.as_mut_ptr();
                        isa.run(LateRun { activation, residual, data, len: pixels, rows: 1, stride: (0, 0) });
                    }
                }
            }
        });
    }
}

/// Adds the products `[kd][kh][kw][input pixel]` of one output channel where they belong.
fn scatter(conv: &TransposedConv, columns: &[f32], out: &mut [f32]) {
    let [d, h, w] = conv.input;
    let [od, oh, ow] = conv.output;
    let [_, kh, kw] = conv.kernel;
    // Output index of input 0 for a tap, and the inputs whose outputs exist.
    let place = |axis: usize, k: usize| (k * conv.dilation[axis]) as isize - conv.pads_begin[axis] as isize;
    for (tap, products) in columns.chunks_exact((d * h * w).max(1)).enumerate() {
        let (z0, y0, x0) = (place(0, tap / (kh * kw)), place(1, tap / kw % kh), place(2, tap % kw));
        let stride = conv.stride[2];
        let first = if x0 < 0 { x0.unsigned_abs().div_ceil(stride) } else { 0 };
        let last = if (ow as isize) > x0 { ((ow as isize - x0) as usize).div_ceil(stride).min(w) } else { 0 };
        if first >= last {
            continue;
        }
        for z in 0..d {
            let oz = (z0 + (z * conv.stride[0]) as isize) as usize;
            for y in 0..h {
                let oy = (y0 + (y * conv.stride[1]) as isize) as usize;
                if oz >= od || oy >= oh {
                    continue;
                }
                let row = &mut out[(oz * oh + oy) * ow..][..ow];
                let from = &products[(z * h + y) * w..][first..last];
                let start = (x0 + (first * stride) as isize) as usize;
                row[start..].iter_mut().step_by(stride).zip(from).for_each(|(y, p)| *y += p);
            }
        }
    }
}
