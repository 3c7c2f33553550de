//! Products of awkward sizes against f64, with every layout and epilogue.

use super::*;
use crate::check::{self, Rng, close, every};
use crate::epilogue::{Activation, Residual};

const SIZES: [(usize, usize, usize); 22] = [
    (0, 5, 3),
    (5, 0, 3),
    (5, 3, 0),
    (1, 1, 1),
    (1, 16, 7),
    (1, 129, 65),
    (1, 300, 2050),
    (2, 33, 5),
    (3, 48, 17),
    (4, 63, 31),
    (5, 64, 32),
    (6, 17, 3),
    (7, 100, 13),
    (8, 31, 29),
    (13, 47, 11),
    (14, 32, 64),
    (15, 96, 9),
    (28, 16, 40),
    (31, 37, 41),
    (43, 130, 77),
    (33, 50, 1500),
    (97, 18, 1100),
];

fn naive(d: Dims, a: Mat<'_>, b: Mat<'_>, finish: impl Fn(usize, usize, f64) -> f64) -> Vec<f64> {
    let mut c = Vec::new();
    for i in 0..d.m {
        for j in 0..d.n {
            let sum = (0..d.k)
                .map(|k| f64::from(a.data[i * a.rs + k * a.cs]) * f64::from(b.data[k * b.rs + j * b.cs]))
                .sum::<f64>();
            c.push(finish(i, j, sum));
        }
    }
    c
}

/// The first `n` of every `ld` elements, and a check that the rest was left alone.
fn rows(c: &[f32], n: usize, ld: usize) -> Vec<f32> {
    for row in c.chunks(ld.max(1)) {
        assert!(row[n.min(row.len())..].iter().all(|&x| x == -77.25), "wrote between the rows");
    }
    c.chunks(ld.max(1)).flat_map(|row| row[..n.min(row.len())].to_vec()).collect()
}

#[test]
fn plain_product_for_every_layout() {
    for (seed, (m, n, k)) in SIZES.into_iter().enumerate() {
        let d = Dims { m, n, k };
        let mut rng = Rng::new(seed as u64);
        for (a_cs, b_cs) in [(1, 1), (1, k + 1), (m + 2, 1), (3, n)] {
            let (a_rs, b_rs) = (if a_cs == m + 2 { 1 } else { k * a_cs + 3 }, if b_cs == k + 1 { 1 } else { n * b_cs });
            let (a, b) = (rng.vec(span(m, a_rs, k, a_cs)), rng.vec(span(k, b_rs, n, b_cs)));
            let (a, b) = (Mat { data: &a, rs: a_rs, cs: a_cs }, Mat { data: &b, rs: b_rs, cs: b_cs });
            let want = naive(d, a, b, |_, _, x| x);
            let ldc = n + 3;
            every(
                m * ldc,
                |isa, par, c| {
                    let mut scratch = vec![f32::NAN; gemm_unpacked_scratch(d, a_cs)];
                    gemm_unpacked(isa, par, d, a, b, c, ldc, &Epilogue::default(), &mut scratch);
                },
                |tier, c| {
                    let got = if n == 0 { Vec::new() } else { rows(c, n, ldc) };
                    close(&got, &want, 3e-5, &format!("{tier} {m}x{n}x{k} cs {a_cs} {b_cs}"));
                },
            );
        }
    }
}

#[test]
fn backwards_is_the_same() {
    for (seed, (m, n, k)) in SIZES.into_iter().enumerate() {
        let mut rng = Rng::new(seed as u64);
        let (a, b) = (rng.vec(m * k), rng.vec(k * n));
        let b = pack_b(k, n, &b, n, 1);
        for isa in crate::isa::Isa::available() {
            let run = |backwards: bool| {
                let mut c = vec![f32::NAN; m * n];
                let (d, a, e) = (Dims { m, n, k }, Mat::rows(&a, k), Epilogue::default());
                sweep(isa, &crate::par::Serial, d, a, &b, &mut c, n, &e, &mut [], backwards);
                c
            };
            assert_eq!(run(false), run(true), "{} {m}x{n}x{k}", isa.tier());
        }
    }
}

#[test]
fn epilogues() {
    let activations =
        [Activation::None, Activation::Relu, Activation::Clip(-0.5, 0.75), Activation::Gelu, Activation::Tanh];
    for (seed, (m, n, k)) in SIZES.into_iter().enumerate() {
        let d = Dims { m, n, k };
        let mut rng = Rng::new(seed as u64 + 100);
        let (a, b) = (rng.vec(m * k), rng.vec(k * n));
        let (per_col, per_row, res) = (rng.vec(n), rng.vec(m), rng.vec(m * (n + 1)));
        let packed = pack_b(k, n, &b, n, 1);
        let (a, b) = (Mat::rows(&a, k), Mat::rows(&b, n));
        for case in 0..3 * activations.len() * 3 {
            let activation = activations[case % activations.len()];
            let bias = [Bias::None, Bias::PerCol(&per_col), Bias::PerRow(&per_row)][case / activations.len() % 3];
            let residual = (case / activations.len() / 3 > 0).then(|| Residual::new(&res, n + 1));
            let after = case / activations.len() / 3 > 1;
            let epilogue = Epilogue { bias, residual, activation, residual_after_activation: after };
            let want = naive(d, a, b, |i, j, x| {
                let bias = match bias {
                    Bias::None => 0.0,
                    Bias::PerCol(v) => v[j],
                    Bias::PerRow(v) => v[i],
                };
                let r = if residual.is_some() { f64::from(res[i * (n + 1) + j]) } else { 0.0 };
                let x = x + f64::from(bias);
                if after { check::activation(activation, x) + r } else { check::activation(activation, x + r) }
            });
            every(
                m * n,
                |isa, par, c| gemm(isa, par, d, a, &packed, c, n, &epilogue, &mut []),
                |tier, c| close(c, &want, 3e-5, &format!("{tier} {m}x{n}x{k} {epilogue:?}")),
            );
        }
    }
}

#[test]
fn a_residual_may_be_the_output() {
    let (m, n, k) = (29, 45, 1200);
    let mut rng = Rng::new(7);
    let (a, b, start) = (rng.vec(m * k), rng.vec(k * n), rng.vec(m * n));
    let packed = pack_b(k, n, &b, n, 1);
    for activation in [Activation::Relu, Activation::Silu] {
        let (am, bm) = (Mat::rows(&a, k), Mat::rows(&b, n));
        let want =
            naive(Dims { m, n, k }, am, bm, |i, j, x| check::activation(activation, x + f64::from(start[i * n + j])));
        every(
            m * n,
            |isa, par, c| {
                c.copy_from_slice(&start);
                // SAFETY: the residual is the output.
                let residual = Some(unsafe { Residual::from_raw(c.as_ptr(), c.len(), n) });
                let e = Epilogue { residual, activation, ..Epilogue::default() };
                gemm(isa, par, Dims { m, n, k }, am, &packed, c, n, &e, &mut []);
            },
            |tier, c| close(c, &want, 3e-5, &format!("{tier} {activation:?}")),
        );
    }
}

#[test]
fn packing_is_panels_of_sixteen() {
    let b: Vec<f32> = (0..3 * 18).map(|x| x as f32 + 1.0).collect();
    let packed = pack_b(3, 18, &b, 18, 1);
    assert_eq!(packed.len(), 2 * 3 * 16);
    assert_eq!(packed[0..16], b[0..16]);
    assert_eq!(packed[16..32], b[18..34]);
    assert_eq!(packed[48..51], [17.0, 18.0, 0.0]);
    let transposed: Vec<f32> = (0..18 * 3).map(|i| b[i % 3 * 18 + i / 3]).collect();
    assert_eq!(pack_b(3, 18, &transposed, 1, 3), packed);
}

#[test]
#[should_panic(expected = "b: slice too short")]
fn short_slices_are_refused() {
    let (a, mut c) = ([0.0; 4], [0.0; 4]);
    let d = Dims { m: 2, n: 2, k: 2 };
    gemm(Isa::detect(), &crate::par::Serial, d, Mat::rows(&a, 2), &[0.0; 4], &mut c, 2, &Epilogue::default(), &mut []);
}
