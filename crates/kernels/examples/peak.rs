//! Prints GFLOP/s, and the fraction of the measured FMA peak, of the kernels on shapes from ResNet-50 and BERT, and of
//! products of integers.
//!
//! `cargo run --release -p planc-kernels --example peak [TIER] [FILTER]`: one thread, minimum of many runs, the peak loop
//! beside each so that changes of the clock do not count.
#![allow(clippy::print_stdout, reason = "a program whose output is a table")]

use planc_kernels::conv::{
    Conv2d, conv_depthwise, conv_direct, conv_first, direct_scratch, first_scratch, pack_conv_weights,
    pack_depthwise_weights, pack_first_weights,
};
use planc_kernels::epilogue::{Activation, Bias, Epilogue};
use planc_kernels::gemm::{Dims, Mat, gemm, pack_b};
use planc_kernels::integer::{Columns, Widen, Windows, product, product_scratch, widen_rows};
use planc_kernels::isa::{Isa, Kernel, Simd, Tier};
use planc_kernels::par::Serial;
use std::hint::black_box;
use std::ops::{Deref, DerefMut};
use std::time::Instant;

/// Independent chains of FMA in registers.
struct Chains(usize);

impl Kernel for Chains {
    type Out = f64;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f64 {
        let (x, y) = (s.splat(black_box(0.999)), s.splat(black_box(0.001)));
        let mut acc = [s.zero(); 12];
        for _ in 0..self.0 {
            for a in &mut acc {
                *a = s.fma(*a, x, y);
            }
        }
        let sum = acc.iter().fold(s.zero(), |sum, &a| s.add(sum, a));
        black_box(s.reduce_add(sum));
        (self.0 * 12 * S::LANES * 2) as f64
    }
}

/// Floating-point operations per second of the peak loop.
fn peak(isa: Isa) -> f64 {
    let start = Instant::now();
    let ops = isa.run(Chains(20_000));
    ops / start.elapsed().as_secs_f64()
}

/// Times `f` beside the peak loop and prints one row.
fn row(isa: Isa, name: &str, ops: f64, mut f: impl FnMut()) {
    f();
    let (mut best, mut top) = (f64::MAX, 0.0f64);
    let start = Instant::now();
    let mut runs = 0;
    while runs < 5 || start.elapsed().as_secs_f64() < 0.25 {
        top = top.max(peak(isa));
        let t = Instant::now();
        f();
        best = best.min(t.elapsed().as_secs_f64());
        runs += 1;
    }
    let rate = ops / best;
    println!("{name:34} {:9.1} us {:8.1} GFLOP/s {:6.1} %", best * 1e6, rate / 1e9, 100.0 * rate / top);
}

/// Numbers in [-1, 1).
fn random(n: usize) -> Vec<f32> {
    let mut x = 0x9e37_79b9_7f4a_7c15u64;
    (0..n)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            (x >> 40) as f32 / 8_388_608.0 - 1.0
        })
        .collect()
}

/// A copy that starts on a cache line, as the arena and the weights of a plan do.
struct Lines {
    data: Vec<f32>,
    start: usize,
}

fn lines(x: &[f32]) -> Lines {
    let mut data = vec![0.0; x.len() + 16];
    let start = data.as_ptr().align_offset(64);
    data[start..start + x.len()].copy_from_slice(x);
    Lines { data, start }
}

impl Deref for Lines {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.data[self.start..self.data.len() + self.start - 16]
    }
}

impl DerefMut for Lines {
    fn deref_mut(&mut self) -> &mut [f32] {
        let end = self.data.len() + self.start - 16;
        &mut self.data[self.start..end]
    }
}

/// Products with several copies of the weights, so that they are not in L2 from the last run.
fn gemms(isa: Isa, filter: &str) {
    const SHAPES: [(usize, usize, usize); 14] = [
        (128, 768, 768),
        (128, 2304, 768),
        (128, 3072, 768),
        (128, 768, 3072),
        (16, 768, 768),
        (16, 3072, 768),
        (49, 2048, 512),
        (49, 512, 4608),
        (196, 256, 2304),
        (3136, 64, 256),
        (1024, 1024, 1024),
        (1, 1000, 2048),
        (1, 4096, 4096),
        (4, 4096, 4096),
    ];
    for (m, n, k) in SHAPES {
        let name = format!("gemm {m}x{n}x{k}");
        if !name.contains(filter) {
            continue;
        }
        let lda = k + 16;
        let (a, bias) = (lines(&random(m * lda)), random(n));
        let b = pack_b(k, n, &random(k * n), n, 1);
        let copies: Vec<_> = (0..4).map(|_| lines(&b)).collect();
        let mut c = lines(&vec![0.0; m * n]);
        let epilogue = Epilogue::new(Bias::PerCol(&bias), Activation::Relu);
        let mut turn = 0;
        row(isa, &name, 2.0 * (m * n * k) as f64, || {
            turn = (turn + 1) % copies.len();
            let a = Mat::rows(&a, lda);
            gemm(isa, &Serial, Dims { m, n, k }, a, &copies[turn], &mut c, n, &epilogue, &mut []);
        });
    }
}

fn square(c: (usize, usize), groups: usize, size: usize, kernel: usize, stride: usize) -> Conv2d {
    let pad = kernel / 2;
    Conv2d {
        batch: 1,
        channels: c,
        groups,
        input: (size, size),
        kernel: (kernel, kernel),
        stride: (stride, stride),
        dilation: (1, 1),
        pads_begin: (pad, pad),
        pads_end: (pad, pad),
    }
}

/// Convolutions in NCHW16c, again with several copies of the weights.
fn convs(isa: Isa, filter: &str) {
    /// Channels, groups, size, kernel, stride.
    type Shape = ((usize, usize), usize, usize, usize, usize);
    const SHAPES: [Shape; 26] = [
        ((3, 64), 1, 224, 7, 2),
        ((3, 32), 1, 224, 3, 2),
        ((64, 64), 1, 56, 3, 1),
        ((128, 128), 1, 28, 3, 1),
        ((256, 256), 1, 14, 3, 1),
        ((512, 512), 1, 7, 3, 1),
        ((128, 128), 1, 56, 3, 2),
        ((32, 32), 1, 160, 3, 1),
        ((64, 64), 1, 80, 3, 1),
        ((128, 128), 1, 40, 3, 1),
        ((256, 256), 1, 20, 3, 1),
        ((64, 256), 1, 56, 1, 1),
        ((256, 64), 1, 56, 1, 1),
        ((512, 128), 1, 28, 1, 1),
        ((1024, 256), 1, 14, 1, 1),
        ((256, 1024), 1, 14, 1, 1),
        ((2048, 512), 1, 7, 1, 1),
        ((512, 2048), 1, 7, 1, 1),
        ((1024, 2048), 1, 14, 1, 2),
        ((24, 144), 1, 56, 1, 1),
        ((960, 240), 1, 1, 1, 1),
        ((32, 32), 32, 112, 3, 1),
        ((144, 144), 144, 56, 3, 1),
        ((576, 576), 576, 14, 3, 1),
        ((960, 960), 960, 7, 3, 1),
        ((96, 96), 96, 112, 3, 2),
    ];
    for (channels, groups, size, kernel, stride) in SHAPES {
        let name = format!("conv {}>{} g{groups} @{size} k{kernel} s{stride}", channels.0, channels.1);
        if !name.contains(filter) {
            continue;
        }
        let c = square(channels, groups, size, kernel, stride);
        let (x, bias) = (lines(&random(c.input_len())), random(channels.1));
        let w = random(channels.0 * channels.1 / groups * kernel * kernel);
        let w = match (groups, channels.0) {
            (1, 3) => pack_first_weights(&c, &w),
            (1, _) => pack_conv_weights(&c, &w),
            _ => pack_depthwise_weights(&c, &w),
        };
        let copies: Vec<_> = (0..4).map(|_| lines(&w)).collect();
        let mut y = lines(&vec![0.0; c.output_len()]);
        let mut scratch = lines(&vec![0.0; direct_scratch(&c).max(first_scratch(&c))]);
        let e = Epilogue::new(Bias::PerCol(&bias), Activation::Relu);
        let (oh, ow) = c.output();
        let ops = 2.0 * (oh * ow * kernel * kernel * channels.1 * (channels.0 / groups)) as f64;
        let mut turn = 0;
        row(isa, &name, ops, || {
            turn = (turn + 1) % copies.len();
            let w = &copies[turn];
            match (groups, channels.0) {
                (1, 3) => conv_first(isa, &Serial, &c, &x, w, &mut y, &e, &mut scratch),
                (1, _) => conv_direct(isa, &Serial, &c, &x, w, &mut y, &e, &mut scratch),
                _ => conv_depthwise(isa, &Serial, &c, &x, w, &mut y, &e),
            }
        });
    }
}

/// Products of 8-bit integers, and convolutions of an image that is widened and padded.
fn integers(isa: Isa, filter: &str) {
    const PRODUCTS: [(usize, usize, usize); 4] =
        [(128, 768, 768), (512, 288, 1152), (1, 1152, 288), (1024, 1024, 1024)];
    let bytes = |n: usize| random(n).into_iter().map(|v| (v * 128.0) as i8 as u8).collect::<Vec<_>>();
    let run = |name: &str, dims: Dims, columns: Columns<'_>| {
        let Dims { m, n, k } = dims;
        if !name.contains(filter) {
            return;
        }
        let mut a = vec![0; m * k.next_multiple_of(2)];
        let mut scratch = vec![0; product_scratch(&Serial, dims)];
        let (w, mut c) = (bytes(m * k), vec![0; m * n]);
        row(isa, name, 2.0 * (m * n * k) as f64, || {
            widen_rows(&Serial, &w, m, k, Widen::new(true), &[3], &mut a);
            product(isa, &Serial, dims, &a, columns, &mut c, &mut scratch);
        });
    };
    for (m, n, k) in PRODUCTS {
        let (b, offsets) = (bytes(k * n), vec![5; n]);
        let columns = Columns::Matrix { bytes: &b, widen: Widen::new(false), offsets: &offsets };
        run(&format!("integer gemm {m}x{n}x{k}"), Dims { m, n, k }, columns);
    }
    // Channels, size, kernel, stride.
    for ((c, m), size, kernel, stride) in [
        ((64, 64), 256, 3, 1),
        ((64, 16), 512, 3, 1),
        ((256, 256), 32, 3, 1),
        ((3, 64), 512, 3, 2),
        ((64, 256), 56, 1, 1),
    ] {
        let (wide, out) = (size + kernel - 1, (size - 1) / stride + 1);
        let image: Vec<i16> = bytes(c * wide * wide).into_iter().map(i16::from).collect();
        let mut rows = vec![];
        for at in (0..c * kernel * kernel).map(|i| [i / (kernel * kernel), i / kernel % kernel, i % kernel]) {
            rows.push((at[0] * wide + at[1]) * wide + at[2]);
        }
        let (output, steps) = ([1, out, out], [0, stride * wide, stride]);
        let windows = Windows { image: &image, rows: &rows, output, steps };
        let dims = Dims { m, n: out * out, k: rows.len() };
        run(&format!("integer conv {c}>{m} @{size} k{kernel} s{stride}"), dims, Columns::Windows(windows));
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let tier = args.next().and_then(|name| Tier::mask(&name));
    let filter = args.next().unwrap_or_default();
    let isa = tier.map_or_else(Isa::detect, Isa::at_most);
    println!("tier {}, peak {:.1} GFLOP/s", isa.tier(), (0..50).map(|_| peak(isa)).fold(0.0, f64::max) / 1e9);
    gemms(isa, &filter);
    convs(isa, &filter);
    integers(isa, &filter);
}
