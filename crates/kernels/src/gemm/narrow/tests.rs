//! Products with weights of every form against f64, over awkward sizes.

use super::super::{Bias, pack_groups, pack_half, pack_scaled, span};
use super::*;
use crate::check::{self, Rng, close, every};
use crate::epilogue::{Activation, Residual};
use planc_tensor::{bf16, f16};

const SIZES: [(usize, usize, usize); 16] = [
    (0, 5, 3),
    (3, 0, 5),
    (1, 1, 0),
    (6, 3, 0),
    (1, 1, 1),
    (1, 16, 33),
    (1, 300, 70),
    (2, 129, 64),
    (3, 47, 31),
    (3, 140, 96),
    (4, 65, 100),
    (5, 33, 32),
    (7, 90, 45),
    (19, 17, 1500),
    (2, 35, 1100),
    (40, 300, 65),
];

const FORMS: [Narrow; 4] = [Narrow::F16, Narrow::Bf16, Narrow::I8, Narrow::I4];

/// A random matrix in a form, and its elements row by row.
fn weights(form: Narrow, k: usize, n: usize, seed: u64) -> (Vec<u32>, Vec<f64>) {
    let mut rng = Rng::new(seed);
    let x = rng.vec(k * n);
    let byte = |i: usize, j: usize| (x[i * n + j] * 127.0).round() as i8;
    let code = |i: usize, j: usize| (x[i * n + j] * 8.0).floor() as i8;
    let factor = |i: usize, j: usize| 0.25 + (i * 7 + j * 3) as f32 % 11.0;
    let each = |f: &dyn Fn(usize, usize) -> f64| (0..k * n).map(|at| f(at / n, at % n)).collect();
    match form {
        Narrow::F16 => {
            let bits = |i: usize, j: usize| f16::from_f32(x[i * n + j]).to_bits();
            (pack_half(k, n, bits), each(&|i, j| f16::from_bits(bits(i, j)).into()))
        }
        Narrow::Bf16 => {
            let bits = |i: usize, j: usize| bf16::from_f32(x[i * n + j]).to_bits();
            (pack_half(k, n, bits), each(&|i, j| bf16::from_bits(bits(i, j)).into()))
        }
        Narrow::I8 => {
            let packed = pack_scaled(k, n, byte, |j| factor(0, j) / 127.0);
            (packed, each(&|i, j| f64::from(byte(i, j)) * f64::from(factor(0, j) / 127.0)))
        }
        Narrow::I4 => {
            let scale = |g: usize, j: usize| f16::from_f32(factor(g, j) / 8.0);
            let packed = pack_groups(k, n, code, |g, j| scale(g, j).to_bits());
            (packed, each(&|i, j| f64::from(code(i, j)) * f64::from(scale(i / GROUP, j))))
        }
    }
}

#[test]
fn products_with_epilogues() {
    for (seed, (m, n, k)) in SIZES.into_iter().enumerate() {
        let dims = Dims { m, n, k };
        for (case, form) in FORMS.into_iter().enumerate() {
            let (packed, w) = weights(form, k, n, seed as u64);
            assert_eq!(size_of_val(&packed[..]), n.div_ceil(16) * form.panel_bytes(k), "{form:?} {k}x{n}");
            let mut rng = Rng::new(seed as u64 + 50);
            // Every other product has A by columns.
            let (rs, cs) = if (seed + case).is_multiple_of(2) { (k + 2, 1) } else { (1, m + 1) };
            let a = rng.vec(span(m, rs, k, cs));
            let (bias, residual) = (rng.vec(n), rng.vec(m * (n + 1)));
            let which = (seed + case) % 4;
            let activation =
                [Activation::None, Activation::Relu, Activation::Silu, Activation::Clip(-0.5, 0.75)][which];
            let e = Epilogue {
                bias: if which == 3 { Bias::None } else { Bias::PerCol(&bias) },
                residual: (which > 0).then(|| Residual::new(&residual, n + 1)),
                activation,
                residual_after_activation: which == 2,
            };
            let mut want = Vec::new();
            for i in 0..m {
                for j in 0..n {
                    let sum: f64 = (0..k).map(|p| f64::from(a[i * rs + p * cs]) * w[p * n + j]).sum();
                    let x = sum + if which == 3 { 0.0 } else { f64::from(bias[j]) };
                    let r = if which > 0 { f64::from(residual[i * (n + 1) + j]) } else { 0.0 };
                    let after = which == 2;
                    let act = |x| check::activation(activation, x);
                    want.push(if after { act(x) + r } else { act(x + r) });
                }
            }
            let tolerance = 1e-5 * (k as f64).sqrt().max(4.0);
            every(
                m * n,
                |isa, par, c| {
                    let mut scratch = vec![f32::NAN; gemm_narrow_scratch(par, dims, cs)];
                    let a = Mat { data: &a, rs, cs };
                    gemm_narrow(isa, par, dims, a, (form, &packed), c, n, &e, &mut scratch);
                },
                |tier, c| close(c, &want, tolerance, &format!("{tier} {form:?} {m}x{n}x{k}")),
            );
        }
    }
}

#[test]
fn a_residual_may_be_the_output() {
    for (m, n, k) in [(2, 45, 70), (9, 45, 1200)] {
        for form in FORMS {
            let (packed, w) = weights(form, k, n, 3);
            let mut rng = Rng::new(7);
            let (a, start) = (rng.vec(m * k), rng.vec(m * n));
            let element = |i: usize, j: usize| (0..k).map(|p| f64::from(a[i * k + p]) * w[p * n + j]).sum::<f64>();
            let want: Vec<f64> = (0..m * n).map(|at| f64::from(start[at]) + element(at / n, at % n)).collect();
            every(
                m * n,
                |isa, par, c| {
                    c.copy_from_slice(&start);
                    // SAFETY: the residual is the output.
                    let residual = Some(unsafe { Residual::from_raw(c.as_ptr(), c.len(), n) });
                    let e = Epilogue { residual, ..Epilogue::default() };
                    let dims = Dims { m, n, k };
                    let mut scratch = vec![f32::NAN; gemm_narrow_scratch(par, dims, 1)];
                    gemm_narrow(isa, par, dims, Mat::rows(&a, k), (form, &packed), c, n, &e, &mut scratch);
                },
                |tier, c| close(c, &want, 3e-4, &format!("{tier} {form:?} {m}x{n}x{k}")),
            );
        }
    }
}

#[test]
fn forms_are_as_their_layouts_say() {
    use planc_tensor::{DType, Layout};
    let stored = |dtype, layout: Layout, k, n| layout.stored_bytes(dtype, &[k, n]).unwrap();
    for (k, n) in [(1, 1usize), (31, 16), (32, 17), (33, 40), (64, 5)] {
        let panels = n.div_ceil(16);
        assert_eq!(panels * Narrow::F16.panel_bytes(k), stored(DType::F16, Layout::Panels16, k, n));
        assert_eq!(panels * Narrow::Bf16.panel_bytes(k), stored(DType::BF16, Layout::Panels16, k, n));
        assert_eq!(panels * Narrow::I8.panel_bytes(k), stored(DType::I8, Layout::ScaledPanels16, k, n));
        assert_eq!(panels * Narrow::I4.panel_bytes(k), stored(DType::I4, Layout::GroupPanels16, k, n));
    }
    // Row 9 of column 2 is the second half of the first byte of its word, in the second quarter of the group.
    let packed = pack_groups(10, 3, |i, j| if (i, j) == (9, 2) { -1 } else { 0 }, |_, j| 0x3c00 + j as u16);
    let bytes: &[u8] = bytemuck::cast_slice(&packed);
    let set: Vec<(usize, u8)> = bytes.iter().copied().enumerate().filter(|(_, b)| *b != 0).collect();
    assert_eq!(set, [((16 + 2) * 4, 0xf0), (257, 0x3c), (258, 1), (259, 0x3c), (260, 2), (261, 0x3c)]);
}

#[test]
#[should_panic(expected = "b: slice too short")]
fn short_weights_are_refused() {
    let (a, mut c, d) = ([0.0; 4], [0.0; 4], Dims { m: 2, n: 2, k: 2 });
    let e = Epilogue::default();
    gemm_narrow(Isa::detect(), &check::Threads(1), d, Mat::rows(&a, 2), (Narrow::I8, &[0; 23]), &mut c, 2, &e, &mut []);
}
