//! Prints GFLOP/s, and the fraction of the measured FMA peak, of the kernels on shapes from ResNet-50 and BERT.
//!
//! `cargo run --release -p planc-kernels --example peak [TIER] [FILTER]`: one thread, minimum of many runs, the peak loop
//! beside each so that changes of the clock do not count.
#![allow(clippy::print_stdout, reason = "a program whose output is a table")]

use planc_kernels::epilogue::{Activation, Bias, Epilogue};
use planc_kernels::gemm::{Dims, Mat, gemm, pack_b};
use planc_kernels::isa::{Isa, Kernel, Simd, Tier};
use planc_kernels::par::Serial;
use std::hint::black_box;
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
        let (a, bias) = (random(m * lda), random(n));
        let b = pack_b(k, n, &random(k * n), n, 1);
        let copies: Vec<_> = (0..4).map(|_| b.clone()).collect();
        let mut c = vec![0.0; m * n];
        let epilogue = Epilogue::new(Bias::PerCol(&bias), Activation::Relu);
        let mut turn = 0;
        row(isa, &name, 2.0 * (m * n * k) as f64, || {
            turn = (turn + 1) % copies.len();
            let a = Mat::rows(&a, lda);
            gemm(isa, &Serial, Dims { m, n, k }, a, &copies[turn], &mut c, n, &epilogue, &mut []);
        });
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let tier = args.next().and_then(|name| Tier::mask(&name));
    let filter = args.next().unwrap_or_default();
    let isa = tier.map_or_else(Isa::detect, Isa::at_most);
    println!("tier {}, peak {:.1} GFLOP/s", isa.tier(), (0..50).map(|_| peak(isa)).fold(0.0, f64::max) / 1e9);
    gemms(isa, &filter);
}
