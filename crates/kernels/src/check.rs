//! What the tests of several kernels share: seeded numbers, a thread-per-task [`Parallel`], comparisons.

use crate::isa::Isa;
use crate::par::{Parallel, Serial};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Runs tasks on a few scoped threads, in whatever order they happen to take them.
pub(crate) struct Threads(pub(crate) usize);

impl Parallel for Threads {
    fn threads(&self) -> usize {
        self.0
    }

    fn run(&self, tasks: usize, f: &(dyn Fn(usize) + Sync)) {
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..self.0.min(tasks) {
                scope.spawn(|| {
                    loop {
                        let i = next.fetch_add(1, Ordering::Relaxed);
                        if i >= tasks {
                            break;
                        }
                        f(i);
                    }
                });
            }
        });
    }
}

/// A seeded generator (xorshift).
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// `n` numbers in [-1, 1).
    pub(crate) fn vec(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| (self.bits() >> 40) as f32 / 8_388_608.0 - 1.0).collect()
    }
}

/// Asserts that `got` is within `tol * max(1, |want|)` of `want` everywhere.
#[track_caller]
pub(crate) fn close(got: &[f32], want: &[f64], tol: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}: length");
    for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
        let same = f64::from(g) == w || (g.is_nan() && w.is_nan());
        assert!(same || (f64::from(g) - w).abs() <= tol * w.abs().max(1.0), "{what}: element {i} is {g}, not {w}");
    }
}

/// Runs a kernel on every tier with one thread and with three, asserts that both agree bit for bit, and passes the
/// result of each tier to `check`.
#[track_caller]
pub(crate) fn every(len: usize, f: impl Fn(Isa, &dyn Parallel, &mut [f32]), check: impl Fn(&str, &[f32])) {
    for isa in Isa::available() {
        // A pattern that no kernel produces shows what was left unwritten.
        let (mut one, mut three) = (vec![-77.25f32; len], vec![-77.25f32; len]);
        f(isa, &Serial, &mut one);
        f(isa, &Threads(3), &mut three);
        let bits = |x: &[f32]| x.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&one), bits(&three), "{}: result depends on the number of threads", isa.tier());
        check(isa.tier().name(), &one);
    }
}

/// The activation in f64.
pub(crate) fn activation(a: crate::epilogue::Activation, x: f64) -> f64 {
    use crate::epilogue::Activation as A;
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    match a {
        A::None => x,
        A::Relu => x.max(0.0),
        A::Clip(lo, hi) => x.max(lo.into()).min(hi.into()),
        A::LeakyRelu(a) => {
            if x < 0.0 {
                f64::from(a) * x
            } else {
                x
            }
        }
        A::Elu(a) => {
            if x < 0.0 {
                f64::from(a) * x.exp_m1()
            } else {
                x
            }
        }
        A::Sigmoid => sigmoid(x),
        A::HardSigmoid(a, b) => (f64::from(a) * x + f64::from(b)).clamp(0.0, 1.0),
        A::HardSwish => x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
        A::Silu => x * sigmoid(x),
        A::Tanh => x.tanh(),
        A::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
        A::Mish => x * (x.max(0.0) + (-x.abs()).exp().ln_1p()).tanh(),
        A::Gelu => x * 0.5 * erfc(-x * std::f64::consts::FRAC_1_SQRT_2),
        A::GeluTanh => 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x)).tanh()),
    }
}

/// The error function in f64: its series below 3, a continued fraction above (Abramowitz and Stegun 7.1.6, 7.1.14).
pub(crate) fn erf(x: f64) -> f64 {
    if x.abs() < 3.0 {
        let (mut term, mut sum, mut n) = (x, x, 0.0);
        while term.abs() > 1e-18 * sum.abs() {
            n += 1.0;
            term *= 2.0 * x * x / (2.0 * n + 1.0);
            sum += term;
        }
        return sum * std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp();
    }
    (1.0 - erfc(x.abs())).copysign(x)
}

/// `1 - erf(x)` without cancellation for large `x`.
pub(crate) fn erfc(x: f64) -> f64 {
    if x < 3.0 {
        return 1.0 - erf(x);
    }
    let fraction = (1..=60).rev().fold(x, |f, k| x + f64::from(k) / 2.0 / f);
    (-x * x).exp() / fraction * 0.5 * std::f64::consts::FRAC_2_SQRT_PI
}
