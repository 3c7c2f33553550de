//! How fast this machine multiplies and adds, tier by tier: the rates that kernels are held against.
//!
//! Both loops keep their sums in registers and need nothing beyond L1, so no kernel of the same tier can be faster; what a
//! kernel reaches of them says how much there is to gain. They are measured rather than computed, because clocks
//! depend on the tier, on temperature, and on what other processors do.

use crate::isa::{ByteKernel, Bytes, Isa, Kernel, Simd};
use crate::par::Parallel;
use std::hint::black_box;
use std::time::Instant;

/// Sums that are added to in turn: two pipes of latency 5 need 10, and AVX2 has registers for 14.
const SUMS: usize = 12;
/// Additions to each sum in one burst, about a millisecond.
const ROUNDS: usize = 1 << 18;
/// Bursts; the best counts, because anything else that runs only takes away.
const BURSTS: usize = 24;

/// Floating-point operations per second of all threads of `par` by products added to sums of f32, each counting two.
pub fn fma(isa: Isa, par: &dyn Parallel) -> f64 {
    best(par, &|| {
        let (sums, total) = isa.run(Fma);
        black_box(total);
        2 * sums
    })
}

/// Operations per second of all threads of `par` by products of bytes added to sums of i32, each counting two.
pub fn dot(isa: Isa, par: &dyn Parallel) -> f64 {
    best(par, &|| {
        let (sums, total) = isa.run_bytes(Dot);
        black_box(total);
        8 * sums
    })
}

/// The best rate of `burst`, run by every thread at once, which says how many operations one of its rounds is.
fn best(par: &dyn Parallel, burst: &(dyn Fn() -> usize + Sync)) -> f64 {
    let threads = par.threads().max(1);
    let operations = burst() * ROUNDS * threads;
    let mut best = f64::INFINITY;
    for _ in 0..BURSTS {
        let started = Instant::now();
        par.run(threads, &|_| {
            burst();
        });
        best = best.min(started.elapsed().as_secs_f64());
    }
    operations as f64 / best.max(1e-9)
}

struct Fma;

impl Kernel for Fma {
    /// How many sums there are, lanes counted, and what they come to.
    type Out = (usize, f32);

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> (usize, f32) {
        // Values that the compiler does not know, and that stay ordinary numbers: x/2 + 1/2.
        let (x, y) = (s.splat(black_box(0.5)), s.splat(black_box(0.5)));
        let mut sums: [S::V; SUMS] = std::array::from_fn(|i| s.splat(black_box(i as f32)));
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = s.fma(*sum, x, y);
            }
        }
        (S::LANES * SUMS, s.reduce_add(sums.into_iter().fold(s.zero(), |a, b| s.add(a, b))))
    }
}

struct Dot;

impl ByteKernel for Dot {
    /// As for [`Fma`].
    type Out = (usize, i32);

    #[inline(always)]
    fn run<S: Bytes>(self, s: S) -> (usize, i32) {
        // Without an instruction for them, products of bytes take more registers, and their sums are ready sooner.
        if const { S::QUAD_ROWS[1] * 2 >= SUMS } { tile::<S, 6>(s) } else { tile::<S, 4>(s) }
    }
}

/// Steps of a tile before its operands repeat.
const STEPS: usize = 8;

/// A tile of `QUADS` rows and two registers of columns.
#[inline(always)]
fn tile<S: Bytes, const QUADS: usize>(s: S) -> (usize, i32) {
    let a: &[[[u8; 4]; QUADS]; STEPS] = black_box(&[[[1; 4]; QUADS]; STEPS]);
    // As many bytes as the widest register takes.
    let w: &[[[i8; 64]; 2]; STEPS] = black_box(&[[[1; 64]; 2]; STEPS]);
    let mut sums = [[s.isplat(0); 2]; QUADS];
    for round in 0..ROUNDS {
        let (a, w) = (&a[round % STEPS], &w[round % STEPS]);
        // SAFETY: a register has at most 64 bytes.
        let weights: [S::W; 2] = std::array::from_fn(|j| unsafe { s.weights(w[j].as_ptr()) });
        for (row, a) in sums.iter_mut().zip(a) {
            // SAFETY: there are four bytes.
            let quad = unsafe { s.quad(a.as_ptr()) };
            for (sum, w) in row.iter_mut().zip(weights) {
                *sum = s.dot(*sum, quad, w);
            }
        }
    }
    let mut lanes = [0; 16];
    let total = sums.into_iter().flatten().fold(s.isplat(0), |a, b| s.iadd(a, b));
    // SAFETY: a register has at most 16 lanes.
    unsafe { s.store_i(lanes.as_mut_ptr(), total) };
    (S::LANES * 2 * QUADS, lanes.into_iter().fold(0, i32::wrapping_add))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::par::Serial;

    #[test]
    fn the_loops_compute_what_they_count() {
        for isa in Isa::every() {
            // x/2 + 1/2 tends to 1, in every lane of every sum.
            let (sums, total) = isa.run(Fma);
            assert_eq!(total, sums as f32, "{}", isa.tier());
            // Each round adds four products of ones to each lane of each sum.
            let (sums, total) = isa.run_bytes(Dot);
            assert_eq!(total as u32 as usize, (sums * ROUNDS * 4) % (1 << 32), "{}", isa.tier());
        }
    }

    #[test]
    fn wider_tiers_are_not_slower() {
        let isas = Isa::available();
        let rates: Vec<f64> = isas.iter().map(|isa| fma(*isa, &Serial)).collect();
        assert!(rates.iter().all(|r| r.is_finite() && *r > 1e6), "{rates:?}");
        // By a fourth or more, so that a busy machine does not decide.
        assert!(rates.last() >= rates.first(), "{rates:?}");
    }
}
