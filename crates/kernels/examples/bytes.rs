//! Prints GOP/s, the fraction of the measured peak of products of bytes, and the gain over the f32 kernels in the same
//! run, for the convolutions of ResNet-50 and the matrix products of BERT, requantised to u8.
//!
//! `cargo run --release -p planc-kernels --example bytes [TIER] [FILTER]`: one thread, minimum of many runs, the peak loop
//! beside each so that changes of the clock do not count.
#![allow(clippy::print_stdout, reason = "a program whose output is a table")]
#![allow(unsafe_code, reason = "the peak loop reads its operands as the kernels do")]

use planc_kernels::conv::{Conv2d, conv_depthwise, conv_direct, conv_first, direct_scratch, first_scratch};
use planc_kernels::conv::{pack_conv_weights, pack_depthwise_weights, pack_first_weights};
use planc_kernels::epilogue::{Activation, Bias, Epilogue};
use planc_kernels::gemm::{Dims, Mat, gemm, pack_b};
use planc_kernels::integer::*;
use planc_kernels::isa::{ByteKernel, Bytes, Isa, Tier};
use planc_kernels::par::Serial;
use std::hint::black_box;
use std::time::Instant;

/// Independent chains of products in registers.
struct Chains(usize);

impl ByteKernel for Chains {
    type Out = f64;

    #[inline(always)]
    fn run<S: Bytes>(self, s: S) -> f64 {
        let (x, w) = (black_box([1u8; 4]), black_box([1i8; 64]));
        // SAFETY: four bytes, and as many as any register holds.
        let (x, w) = unsafe { (s.quad(x.as_ptr()), s.weights(w.as_ptr())) };
        let mut sums = [s.isplat(0); 12];
        for _ in 0..self.0 {
            for sum in &mut sums {
                *sum = s.dot(*sum, x, w);
            }
        }
        let sum = sums.iter().fold(s.isplat(0), |sum, v| s.iadd(sum, *v));
        black_box(s.reduce_add(s.to_float(sum)));
        (self.0 * 12 * S::LANES * 8) as f64
    }
}

fn peak(isa: Isa) -> f64 {
    let start = Instant::now();
    let ops = isa.run_bytes(Chains(20_000));
    ops / start.elapsed().as_secs_f64()
}

/// Times both beside the peak loop and prints one row.
fn row(isa: Isa, name: &str, ops: f64, mut bytes: impl FnMut(), mut floats: impl FnMut()) {
    bytes();
    floats();
    let (mut best, mut other, mut top) = (f64::MAX, f64::MAX, 0.0f64);
    let start = Instant::now();
    let mut runs = 0;
    while runs < 5 || start.elapsed().as_secs_f64() < 0.3 {
        top = top.max(peak(isa));
        let t = Instant::now();
        bytes();
        best = best.min(t.elapsed().as_secs_f64());
        let t = Instant::now();
        floats();
        other = other.min(t.elapsed().as_secs_f64());
        runs += 1;
    }
    let rate = ops / best;
    println!(
        "{name:34} {:9.1} us {:8.1} GOP/s {:6.1} %   f32 {:9.1} us {:5.2}x",
        best * 1e6,
        rate / 1e9,
        100.0 * rate / top,
        other * 1e6,
        other / best
    );
}

fn noise(n: usize) -> impl Iterator<Item = u64> {
    let mut x = 0x9e37_79b9_7f4a_7c15u64;
    (0..n).map(move |_| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x >> 33
    })
}

fn floats(n: usize) -> Vec<f32> {
    noise(n).map(|v| v as f32 / 1e9 - 1.0).collect()
}

/// Bytes on a cache line, as the arena and the weights of a plan are.
struct Lines(Vec<u8>, usize);

fn lines(x: Vec<u8>) -> Lines {
    let mut all = vec![0; x.len() + 64];
    let start = all.as_ptr().align_offset(64);
    all[start..start + x.len()].copy_from_slice(&x);
    Lines(all, start)
}

impl Lines {
    fn get(&mut self) -> &mut [u8] {
        let end = self.0.len() - 64 + self.1;
        &mut self.0[self.1..end]
    }
}

fn requant(scale: &[f32]) -> Finish<'_> {
    let to = To::Byte { signed: false, zero: 3 };
    let activation = Clamp::Range(0.0, f32::INFINITY);
    Finish::Requant(Requant {
        scale,
        bias: None,
        curve: None,
        residual: None,
        activation,
        factor: Factor::Over(0.07),
        to,
    })
}

fn gemms(isa: Isa, filter: &str) {
    const SHAPES: [(usize, usize, usize); 8] = [
        (128, 768, 768),
        (128, 3072, 768),
        (128, 768, 3072),
        (16, 768, 768),
        (1, 768, 3072),
        (1, 4096, 4096),
        (49, 512, 4608),
        (1024, 1024, 1024),
    ];
    for (m, n, k) in SHAPES {
        let name = format!("gemm {m}x{n}x{k}");
        if !name.contains(filter) {
            continue;
        }
        let copies = (24_000_000 / (n * k)).clamp(1, 8);
        let (dims, size) = (Dims { m, n, k }, packed_matrix_len(k, n));
        let w: Vec<i8> = noise(n * k).map(|v| v as i8).collect();
        let mut packed = lines(pack_matrix(k, n, &w).repeat(copies));
        let packed = packed.get();
        let mut a = lines(noise(m * k).map(|v| v as u8).collect());
        let a = a.get();
        let mut y = lines(vec![0; m * n]);
        let y = y.get();
        let (start, scale) = (starts(n, k.div_ceil(4), packed, 5, None), vec![1e-4; n]);
        let (fa, fb) = (floats(m * k), floats(n * k));
        let fw: Vec<f32> = pack_b(k, n, &fb, n, 1).repeat(copies);
        let (mut fy, mut next, mut fnext) = (vec![0.0; m * n], 0, 0);
        let fsize = fw.len() / copies;
        let mut fscratch = vec![0.0; planc_kernels::gemm::gemm_scratch(dims, 1)];
        let mut int8 = || {
            next = (next + 1) % copies;
            gemm_packed(isa, &Serial, dims, a, false, &packed[next * size..], &start, y, &requant(&scale), &mut []);
        };
        let mut f32s = || {
            fnext = (fnext + 1) % copies;
            let x = Mat { data: &fa, rs: k, cs: 1 };
            let e = Epilogue::new(Bias::None, Activation::Relu);
            let w = &fw[fnext * fsize..(fnext + 1) * fsize];
            gemm(isa, &Serial, dims, x, w, &mut fy, n, &e, &mut fscratch);
        };
        row(isa, &name, 2.0 * (m * n * k) as f64, &mut int8, &mut f32s);
    }
}

fn convs(isa: Isa, filter: &str) {
    // Input channels, output channels, input size, kernel, stride, groups.
    const SHAPES: [(usize, usize, usize, usize, usize, usize); 20] = [
        (3, 64, 224, 7, 2, 1),
        (64, 64, 56, 1, 1, 1),
        (64, 64, 56, 3, 1, 1),
        (64, 256, 56, 1, 1, 1),
        (256, 64, 56, 1, 1, 1),
        (256, 128, 56, 1, 1, 1),
        (128, 128, 56, 3, 2, 1),
        (128, 512, 28, 1, 1, 1),
        (256, 512, 56, 1, 2, 1),
        (512, 128, 28, 1, 1, 1),
        (128, 128, 28, 3, 1, 1),
        (256, 256, 14, 3, 1, 1),
        (256, 1024, 14, 1, 1, 1),
        (1024, 256, 14, 1, 1, 1),
        (512, 512, 7, 3, 1, 1),
        (512, 2048, 7, 1, 1, 1),
        (2048, 512, 7, 1, 1, 1),
        (96, 96, 112, 3, 2, 96),
        (144, 144, 56, 3, 1, 144),
        (576, 576, 14, 3, 1, 576),
    ];
    for (c, m, size, k, stride, groups) in SHAPES {
        let name = format!("conv {c}-{m} {k}x{k}/{stride} @{size}{}", if groups > 1 { " dw" } else { "" });
        if !name.contains(filter) {
            continue;
        }
        let conv = Conv2d {
            batch: 1,
            channels: (c, m),
            groups,
            input: (size, size),
            kernel: (k, k),
            stride: (stride, stride),
            dilation: (1, 1),
            pads_begin: (k / 2, k / 2),
            pads_end: (k / 2, k / 2),
        };
        let (oh, ow) = conv.output();
        let (first, depthwise) = (c < 16, groups > 1);
        let terms = c / groups * k * k;
        let w: Vec<i8> = noise(m * terms).map(|v| v as i8).collect();
        let (mut packed, quads) = match () {
            () if first => (pack_first(m, c, k * k, &w), c.div_ceil(4) * k * k),
            () if depthwise => (pack_depthwise(m, k * k, &w), 0),
            () => (pack_conv(m, c, k * k, &w), c.div_ceil(16) * 4 * k * k),
        };
        let start = if depthwise { vec![0; m] } else { starts(m, quads, &packed, 5, None) };
        let mut packed = lines(std::mem::take(&mut packed));
        let mut x = lines(noise(conv.input_len().max(c * size * size)).map(|v| v as u8).collect());
        let mut y = lines(vec![0; conv.output_len()]);
        let scale = vec![1e-4; m];
        let image = Image { bytes: x.get(), signed: false, zero: 5 };
        let len = conv_blocks_scratch(&conv, false)
            .max(conv_rows_scratch(&conv))
            .max(conv_bytes_depthwise_scratch(&conv, &Serial));
        let mut scratch = lines(vec![0; len]);
        let (fx, fw) = (floats(conv.input_len()), floats(m * terms));
        let fw = match () {
            () if first => pack_first_weights(&conv, &fw),
            () if depthwise => pack_depthwise_weights(&conv, &fw),
            () => pack_conv_weights(&conv, &fw),
        };
        let mut fscratch = vec![0.0; direct_scratch(&conv).max(first_scratch(&conv))];
        let mut fy = vec![0.0; conv.output_len()];
        let bias = floats(m);
        let (w, y, scratch) = (packed.get(), y.get(), scratch.get());
        let mut int8 = || {
            let f = requant(&scale);
            match () {
                () if first => conv_rows(isa, &Serial, &conv, image, w, &start, y, &f, scratch),
                () if depthwise => conv_bytes_depthwise(isa, &Serial, &conv, image, w, &start, y, &f, scratch),
                () => conv_blocks(isa, &Serial, &conv, image, w, &start, y, &f, scratch),
            }
        };
        let mut f32s = || {
            let e = Epilogue::new(Bias::PerCol(&bias), Activation::Relu);
            match () {
                () if first => conv_first(isa, &Serial, &conv, &fx, &fw, &mut fy, &e, &mut fscratch),
                () if depthwise => conv_depthwise(isa, &Serial, &conv, &fx, &fw, &mut fy, &e),
                () => conv_direct(isa, &Serial, &conv, &fx, &fw, &mut fy, &e, &mut fscratch),
            }
        };
        row(isa, &name, 2.0 * (oh * ow * m * terms) as f64, &mut int8, &mut f32s);
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let tier = args.next().and_then(|name| Tier::mask(&name));
    let filter = args.next().unwrap_or_default();
    let isa = tier.map_or_else(Isa::detect, Isa::at_most);
    println!("tier {}, peak {:.1} GOP/s", isa.tier(), peak(isa) / 1e9);
    gemms(isa, &filter);
    convs(isa, &filter);
}
