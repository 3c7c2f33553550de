//! One step of recurrent cells, after the matrix products: gates in, states out.
//!
//! The gates of a step are `X W^T + H R^T + bias`, which are two products of [`crate::gemm`] (the first over all steps at
//! once, the second with the first as its residual).

use crate::isa::{Isa, Kernel, Simd};
use crate::vmath::{sigmoid, tanh};

/// An LSTM step for `batch` rows with the default activations: gates are `[batch][4 hidden]` in the order input, output,
/// forget, cell, as ONNX packs them. `c` is updated in place, `h` is written.
///
/// `c = sigmoid(f) c + sigmoid(i) tanh(g)`, `h = sigmoid(o) tanh(c)`. With peepholes `[3 hidden]` (input, output, forget),
/// `p_i c` and `p_f c` of the old state are added to `i` and `f`, and `p_o c` of the new state to `o`.
///
/// # Panics
/// If a slice is too short.
pub fn lstm_step(isa: Isa, hidden: usize, gates: &[f32], peephole: Option<&[f32]>, c: &mut [f32], h: &mut [f32]) {
    assert_eq!(c.len(), h.len(), "lengths of the states");
    assert!(hidden > 0 && c.len().is_multiple_of(hidden) && gates.len() >= 4 * c.len(), "gates: slice too short");
    assert!(peephole.is_none_or(|p| p.len() >= 3 * hidden), "peephole: slice too short");
    isa.run(Lstm { hidden, gates, peephole, c, h });
}

struct Lstm<'a> {
    hidden: usize,
    gates: &'a [f32],
    peephole: Option<&'a [f32]>,
    c: &'a mut [f32],
    h: &'a mut [f32],
}

impl Kernel for Lstm<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let n = self.hidden;
        let rows = self.c.chunks_exact_mut(n).zip(self.h.chunks_exact_mut(n)).zip(self.gates.chunks_exact(4 * n));
        for ((c, h), gates) in rows {
            for at in (0..n).step_by(S::LANES) {
                let len = S::LANES.min(n - at);
                // SAFETY: `at + len <= n`, the length of the states and of each gate and peephole.
                unsafe {
                    let load = |v: &[f32], part: usize| s.load_n(v.as_ptr().add(part * n + at), len);
                    let old = load(c, 0);
                    let (mut i, mut o, mut f) = (load(gates, 0), load(gates, 1), load(gates, 2));
                    if let Some(p) = self.peephole {
                        i = s.fma(load(p, 0), old, i);
                        f = s.fma(load(p, 2), old, f);
                    }
                    let fresh = s.mul(sigmoid(s, i), tanh(s, load(gates, 3)));
                    let new = s.fma(sigmoid(s, f), old, fresh);
                    if let Some(p) = self.peephole {
                        o = s.fma(load(p, 1), new, o);
                    }
                    s.store_n(c.as_mut_ptr().add(at), len, new);
                    s.store_n(h.as_mut_ptr().add(at), len, s.mul(sigmoid(s, o), tanh(s, new)));
                }
            }
        }
    }
}

/// The first half of a GRU step: turns `[batch][2 hidden]` sums for update and reset into the gates (in place) and writes
/// `reset * h`, which the product with the hidden weights takes where `linear_before_reset` is 0.
///
/// # Panics
/// If a slice is too short.
pub fn gru_gates(isa: Isa, hidden: usize, gates: &mut [f32], h: &[f32], reset_h: &mut [f32]) {
    assert_eq!(h.len(), reset_h.len(), "lengths of the states");
    assert!(hidden > 0 && h.len().is_multiple_of(hidden) && gates.len() >= 2 * h.len(), "gates: slice too short");
    isa.run(GruGates { hidden, gates, h, reset_h });
}

struct GruGates<'a> {
    hidden: usize,
    gates: &'a mut [f32],
    h: &'a [f32],
    reset_h: &'a mut [f32],
}

impl Kernel for GruGates<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let n = self.hidden;
        let rows = self.gates.chunks_exact_mut(2 * n).zip(self.h.chunks_exact(n)).zip(self.reset_h.chunks_exact_mut(n));
        for ((gates, h), out) in rows {
            for at in (0..n).step_by(S::LANES) {
                let len = S::LANES.min(n - at);
                // SAFETY: `at + len <= n`, the length of the states and of each gate.
                unsafe {
                    let (z, r) = (gates.as_mut_ptr().add(at), gates.as_mut_ptr().add(n + at));
                    s.store_n(z, len, sigmoid(s, s.load_n(z, len)));
                    let reset = sigmoid(s, s.load_n(r, len));
                    s.store_n(r, len, reset);
                    s.store_n(out.as_mut_ptr().add(at), len, s.mul(reset, s.load_n(h.as_ptr().add(at), len)));
                }
            }
        }
    }
}

/// The second half: `h = (1 - z) tanh(candidate) + z h`, in place, with the gates of [`gru_gates`].
///
/// `candidate` is `[batch][hidden]`: the input's part plus the product of `reset * h`; or, where `linear` is given
/// (`linear_before_reset` is 1), the input's part alone, to which `reset * linear` is added.
///
/// # Panics
/// If a slice is too short.
pub fn gru_step(isa: Isa, hidden: usize, gates: &[f32], candidate: &[f32], linear: Option<&[f32]>, h: &mut [f32]) {
    assert!(hidden > 0 && h.len().is_multiple_of(hidden) && gates.len() >= 2 * h.len(), "gates: slice too short");
    assert!(candidate.len() >= h.len() && linear.is_none_or(|l| l.len() >= h.len()), "candidate: slice too short");
    isa.run(GruStep { hidden, gates, candidate, linear, h });
}

struct GruStep<'a> {
    hidden: usize,
    gates: &'a [f32],
    candidate: &'a [f32],
    linear: Option<&'a [f32]>,
    h: &'a mut [f32],
}

impl Kernel for GruStep<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let n = self.hidden;
        for (row, (h, gates)) in self.h.chunks_exact_mut(n).zip(self.gates.chunks_exact(2 * n)).enumerate() {
            for at in (0..n).step_by(S::LANES) {
                let len = S::LANES.min(n - at);
                // SAFETY: `at + len <= n`, and row `row` exists in every slice, as was checked.
                unsafe {
                    let load = |v: &[f32], from: usize| s.load_n(v.as_ptr().add(from + at), len);
                    let (z, old) = (load(gates, 0), load(h, 0));
                    let mut sum = load(self.candidate, row * n);
                    if let Some(linear) = self.linear {
                        sum = s.fma(load(gates, n), load(linear, row * n), sum);
                    }
                    let candidate = tanh(s, sum);
                    let new = s.fma(z, s.sub(old, candidate), candidate);
                    s.store_n(h.as_mut_ptr().add(at), len, new);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    //! Both cells against f64.

    use super::*;
    use crate::check::{Rng, close, every};

    fn sigmoid64(x: f32) -> f64 {
        1.0 / (1.0 + (-f64::from(x)).exp())
    }

    #[test]
    fn lstm() {
        for (batch, n) in [(1, 1), (2, 17), (3, 64), (0, 5)] {
            for with_peephole in [false, true] {
                let mut rng = Rng::new(2);
                let (gates, start, p) = (rng.vec(batch * 4 * n), rng.vec(batch * n), rng.vec(3 * n));
                let p = if with_peephole { p } else { vec![0.0; 3 * n] };
                let (mut want_c, mut want_h) = (Vec::new(), Vec::new());
                for (at, &old) in start.iter().enumerate() {
                    let (row, j) = (at / n, at % n);
                    let gate = |g: usize| gates[(row * 4 + g) * n + j];
                    let keep = sigmoid64(gate(2) + p[2 * n + j] * old) * f64::from(old);
                    let new = keep + sigmoid64(gate(0) + p[j] * old) * f64::from(gate(3)).tanh();
                    want_c.push(new);
                    want_h.push(sigmoid64(gate(1) + p[n + j] * new as f32) * new.tanh());
                }
                let want = [want_c, want_h].concat();
                every(
                    want.len(),
                    |isa, _, out| {
                        let (c, h) = out.split_at_mut(batch * n);
                        c.copy_from_slice(&start);
                        lstm_step(isa, n, &gates, with_peephole.then_some(&p[..]), c, h);
                    },
                    |tier, out| close(out, &want, 1e-6, tier),
                );
            }
        }
    }

    #[test]
    fn gru() {
        for (batch, n) in [(1, 1), (2, 19), (3, 48)] {
            for with_linear in [false, true] {
                let mut rng = Rng::new(3);
                let (sums, start) = (rng.vec(batch * 2 * n), rng.vec(batch * n));
                let (candidate, linear) = (rng.vec(batch * n), rng.vec(batch * n));
                let (mut want_h, mut want_r) = (Vec::new(), Vec::new());
                for (at, &old) in start.iter().enumerate() {
                    let (row, j) = (at / n, at % n);
                    let (z, r) = (sigmoid64(sums[row * 2 * n + j]), sigmoid64(sums[(row * 2 + 1) * n + j]));
                    let extra = if with_linear { r * f64::from(linear[at]) } else { 0.0 };
                    let fresh = (f64::from(candidate[at]) + extra).tanh();
                    want_h.push((1.0 - z) * fresh + z * f64::from(old));
                    want_r.push(r * f64::from(old));
                }
                let want = [want_h, want_r].concat();
                every(
                    want.len(),
                    |isa, _, out| {
                        let (h, reset_h) = out.split_at_mut(batch * n);
                        h.copy_from_slice(&start);
                        let mut gates = sums.clone();
                        gru_gates(isa, n, &mut gates, h, reset_h);
                        gru_step(isa, n, &gates, &candidate, with_linear.then_some(&linear[..]), h);
                    },
                    |tier, out| close(out, &want, 1e-6, tier),
                );
            }
        }
    }
}
