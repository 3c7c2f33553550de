//! Every convolution on every tier against a naive one in f64.

use super::*;
use crate::check::{self, Rng, close, every};
use crate::epilogue::{Activation, Residual};

/// `[n][out][od][oh][ow]` in f64, before bias and activation.
fn naive(c: &PlainConv, x: &[f32], w: &[f32]) -> Vec<f64> {
    let [od, oh, ow] = c.output();
    let (gic, goc) = (c.channels.0 / c.groups, c.channels.1 / c.groups);
    let ([d, h, wd], [kd, kh, kw]) = (c.input, c.kernel);
    let mut y = Vec::new();
    for n in 0..c.batch {
        for o in 0..c.channels.1 {
            for p in 0..od * oh * ow {
                let at = [p / (oh * ow), p / ow % oh, p % ow];
                let mut sum = 0.0;
                for i in 0..gic {
                    for t in 0..kd * kh * kw {
                        let k = [t / (kh * kw), t / kw % kh, t % kw];
                        let [z, v, u]: [usize; 3] = std::array::from_fn(|a| {
                            (at[a] * c.stride[a] + k[a] * c.dilation[a]).wrapping_sub(c.pads_begin[a])
                        });
                        if z < d && v < h && u < wd {
                            let channel = n * c.channels.0 + o / goc * gic + i;
                            let x = x[((channel * d + z) * h + v) * wd + u];
                            sum += f64::from(x) * f64::from(w[(o * gic + i) * kd * kh * kw + t]);
                        }
                    }
                }
                y.push(sum);
            }
        }
    }
    y
}

/// NCHW to NCHW16c; lanes without a channel are poisoned, because no kernel may depend on them.
fn blocked(x: &[f32], n: usize, c: usize, pixels: usize) -> Vec<f32> {
    let blocks = c.div_ceil(PANEL);
    let mut y = vec![f32::NAN; n * blocks * PANEL * pixels];
    for (i, &v) in x.iter().enumerate() {
        let (image, channel, p) = (i / pixels / c, i / pixels % c, i % pixels);
        y[((image * blocks + channel / PANEL) * pixels + p) * PANEL + channel % PANEL] = v;
    }
    y
}

fn unblocked(y: &[f32], n: usize, c: usize, pixels: usize) -> Vec<f32> {
    let blocks = c.div_ceil(PANEL);
    let at = |i: usize| {
        let (image, channel, p) = (i / pixels / c, i / pixels % c, i % pixels);
        ((image * blocks + channel / PANEL) * pixels + p) * PANEL + channel % PANEL
    };
    (0..n * c * pixels).map(|i| y[at(i)]).collect()
}

#[derive(Clone, Copy)]
enum Path {
    Direct,
    Winograd,
    First,
    Depthwise,
    Plain,
}

/// Runs one path with a bias, some activations and residuals, and checks all tiers.
fn run(path: Path, c: &Conv2d, seed: u64) {
    let plain = PlainConv::from(c);
    let (oh, ow) = c.output();
    let (n, (ic, oc), pixels) = (c.batch, c.channels, oh * ow);
    let mut rng = Rng::new(seed);
    let x = rng.vec(n * ic * c.input.0 * c.input.1);
    let w = rng.vec(oc * ic / c.groups * c.kernel.0 * c.kernel.1);
    let (bias, res) = (rng.vec(oc), rng.vec(n * oc * pixels));
    let sums = naive(&plain, &x, &w);
    let in_blocks = matches!(path, Path::Direct | Path::Winograd | Path::Depthwise);
    let out_blocks = !matches!(path, Path::Plain);
    let input = if in_blocks { blocked(&x, n, ic, c.input.0 * c.input.1) } else { x.clone() };
    let residual = if out_blocks { blocked(&res, n, oc, pixels) } else { res.clone() };
    let packed = match path {
        Path::Direct => pack_conv_weights(c, &w),
        Path::Winograd => pack_winograd_weights(c, &w),
        Path::First => pack_first_weights(c, &w),
        Path::Depthwise => pack_depthwise_weights(c, &w),
        Path::Plain => w.clone(),
    };
    let cases = [
        (Activation::Relu, 0),
        (Activation::None, 1),
        (Activation::Clip(0.0, 0.5), 1),
        (Activation::Silu, 0),
        (Activation::HardSwish, 1),
        (Activation::Relu, 2),
        (Activation::Relu, 3),
        (Activation::Silu, 3),
    ];
    for (i, (activation, mode)) in cases.into_iter().enumerate() {
        let with_bias = i % 3 != 1;
        let want: Vec<f64> = (0..sums.len())
            .map(|j| {
                let b = if with_bias { f64::from(bias[j / pixels % oc]) } else { 0.0 };
                let r = if mode > 0 { f64::from(res[j]) } else { 0.0 };
                let v = sums[j] + b;
                if mode == 2 { check::activation(activation, v) + r } else { check::activation(activation, v + r) }
            })
            .collect();
        every(
            residual.len(),
            |isa, par, y| {
                let residual = match mode {
                    0 => None,
                    3 => {
                        y.copy_from_slice(&residual);
                        // SAFETY: the residual is the output.
                        Some(unsafe { Residual::from_raw(y.as_ptr(), y.len(), 0) })
                    }
                    _ => Some(Residual::new(&residual, 0)),
                };
                let bias = if with_bias { Bias::PerCol(&bias) } else { Bias::None };
                let e = Epilogue { bias, residual, activation, residual_after_activation: mode == 2 };
                match path {
                    Path::Direct => {
                        let mut scratch = vec![f32::NAN; direct_scratch(c)];
                        conv_direct(isa, par, c, &input, &packed, y, &e, &mut scratch);
                    }
                    Path::Winograd => {
                        let mut scratch = vec![f32::NAN; winograd_scratch(c, par)];
                        conv_winograd(isa, par, c, &input, &packed, y, &e, &mut scratch);
                    }
                    Path::First => {
                        let mut scratch = vec![f32::NAN; first_scratch(c)];
                        conv_first(isa, par, c, &input, &packed, y, &e, &mut scratch);
                    }
                    Path::Depthwise => conv_depthwise(isa, par, c, &input, &packed, y, &e),
                    Path::Plain => {
                        let mut scratch = vec![f32::NAN; plain_scratch(&plain, par)];
                        conv_plain(isa, par, &plain, &input, &packed, y, &e, &mut scratch);
                    }
                }
                if out_blocks {
                    // Lanes without a channel are unspecified.
                    let exists = blocked(&vec![0.0; n * oc * pixels], n, oc, pixels);
                    y.iter_mut().zip(exists).filter(|(_, e)| e.is_nan()).for_each(|(y, _)| *y = 0.0);
                }
            },
            |tier, y| {
                let got = if out_blocks { unblocked(y, n, oc, pixels) } else { y.to_vec() };
                // Winograd's errors are relative to the largest sums.
                let largest = sums.iter().fold(1.0, |m: f64, v| m.max(v.abs()));
                let tolerance = if matches!(path, Path::Winograd) { 2e-5 * largest } else { 1e-4 };
                close(&got, &want, tolerance, &format!("{tier} {activation:?} {mode} {c:?}"));
            },
        );
    }
}

#[allow(clippy::too_many_arguments)]
fn conv(
    batch: usize,
    channels: (usize, usize),
    groups: usize,
    input: (usize, usize),
    kernel: (usize, usize),
    stride: (usize, usize),
    dilation: (usize, usize),
    pads: [usize; 4],
) -> Conv2d {
    let [t, l, b, r] = pads;
    Conv2d { batch, channels, groups, input, kernel, stride, dilation, pads_begin: (t, l), pads_end: (b, r) }
}

/// Shapes with tails, asymmetric pads, strides, dilation, and outputs of one pixel or none.
fn dense() -> Vec<Conv2d> {
    vec![
        conv(1, (16, 16), 1, (5, 5), (3, 3), (1, 1), (1, 1), [1; 4]),
        conv(2, (17, 33), 1, (9, 15), (3, 3), (1, 1), (1, 1), [1; 4]),
        conv(1, (40, 50), 1, (7, 7), (3, 3), (1, 1), (1, 1), [1; 4]),
        conv(1, (32, 48), 1, (14, 29), (3, 3), (2, 2), (1, 1), [0, 1, 2, 1]),
        conv(1, (8, 64), 1, (12, 4), (5, 3), (1, 2), (2, 1), [4, 1, 4, 0]),
        conv(1, (33, 20), 1, (6, 3), (2, 2), (1, 1), (1, 1), [0; 4]),
        conv(1, (16, 96), 1, (11, 2), (3, 1), (1, 1), (1, 1), [1, 0, 1, 0]),
        conv(1, (20, 160), 1, (1, 1), (1, 1), (1, 1), (1, 1), [0; 4]),
        conv(1, (48, 130), 1, (2, 2), (1, 1), (1, 1), (1, 1), [0; 4]),
        conv(2, (35, 70), 1, (9, 9), (1, 1), (1, 1), (1, 1), [0; 4]),
        conv(1, (32, 32), 1, (9, 9), (1, 1), (2, 2), (1, 1), [0; 4]),
        conv(1, (16, 16), 1, (1, 40), (1, 9), (1, 1), (1, 1), [0, 4, 0, 4]),
        conv(1, (250, 34), 1, (5, 6), (3, 3), (1, 1), (1, 1), [1; 4]),
        conv(1, (16, 16), 1, (2, 2), (3, 3), (1, 1), (1, 1), [0; 4]),
        conv(1, (0, 20), 1, (4, 4), (3, 3), (1, 1), (1, 1), [0; 4]),
        conv(0, (16, 16), 1, (4, 4), (3, 3), (1, 1), (1, 1), [0; 4]),
        conv(1, (5, 7), 1, (8, 8), (13, 12), (1, 1), (1, 1), [6; 4]),
        conv(1, (33, 48), 1, (5, 17), (3, 3), (1, 1), (4, 9), [4, 9, 4, 9]),
        conv(1, (16, 32), 1, (7, 7), (3, 3), (1, 1), (12, 8), [12, 8, 12, 8]),
        conv(1, (20, 16), 1, (6, 6), (5, 3), (1, 2), (5, 7), [9, 8, 11, 6]),
        conv(2, (16, 48), 1, (16, 17), (3, 3), (1, 1), (12, 12), [12; 4]),
        conv(1, (19, 16), 1, (1, 21), (1, 3), (1, 2), (1, 2), [0, 2, 0, 3]),
        conv(1, (16, 20), 1, (3, 21), (1, 4), (1, 2), (1, 1), [0, 1, 0, 2]),
    ]
}

#[test]
fn direct() {
    let mut cases = dense();
    cases.push(conv(1, (64, 96), 2, (6, 6), (3, 3), (1, 1), (1, 1), [1; 4]));
    cases.push(conv(2, (48, 48), 3, (5, 5), (1, 1), (1, 1), (1, 1), [0; 4]));
    for (seed, c) in cases.iter().enumerate() {
        run(Path::Direct, c, seed as u64);
    }
}

#[test]
fn winograd() {
    let mut cases = dense();
    cases.retain(Conv2d::is_winograd);
    cases.push(conv(1, (64, 48), 1, (30, 27), (3, 3), (1, 1), (1, 1), [1; 4]));
    cases.push(conv(1, (18, 30), 1, (13, 6), (3, 3), (1, 1), (1, 1), [0, 2, 3, 1]));
    cases.push(conv(1, (16, 16), 1, (1, 1), (3, 3), (1, 1), (1, 1), [5; 4]));
    assert!(cases.len() > 8);
    for (seed, c) in cases.iter().enumerate() {
        run(Path::Winograd, c, seed as u64);
    }
}

#[test]
fn first() {
    let cases = [
        conv(1, (3, 64), 1, (32, 31), (7, 7), (2, 2), (1, 1), [3; 4]),
        conv(2, (3, 20), 1, (9, 13), (3, 3), (1, 1), (1, 1), [1; 4]),
        conv(1, (1, 16), 1, (28, 28), (5, 5), (1, 1), (1, 1), [0; 4]),
        conv(1, (4, 33), 1, (10, 10), (3, 3), (1, 2), (2, 2), [2, 1, 0, 3]),
        conv(1, (2, 8), 1, (3, 3), (1, 1), (1, 1), (1, 1), [0; 4]),
    ];
    for (seed, c) in cases.iter().enumerate() {
        run(Path::First, c, seed as u64);
    }
}

#[test]
fn depthwise() {
    for c in [1, 16, 35] {
        let cases = [
            conv(1, (c, c), c, (7, 7), (3, 3), (1, 1), (1, 1), [1; 4]),
            conv(2, (c, c), c, (14, 17), (3, 3), (2, 2), (1, 1), [0, 0, 1, 1]),
            conv(1, (c, c), c, (9, 33), (5, 5), (1, 1), (1, 1), [2; 4]),
            conv(1, (c, c), c, (7, 7), (5, 5), (1, 1), (1, 1), [2; 4]),
            conv(1, (c, c), c, (6, 1), (5, 5), (1, 1), (1, 1), [2; 4]),
            conv(1, (c, c), c, (3, 2), (5, 5), (1, 1), (1, 1), [2, 0, 2, 3]),
            conv(1, (c, c), c, (12, 28), (5, 5), (2, 2), (1, 1), [2; 4]),
            conv(1, (c, c), c, (5, 13), (5, 5), (2, 2), (1, 1), [1, 2, 2, 2]),
            conv(1, (c, c), c, (5, 12), (3, 5), (1, 2), (1, 1), [1, 0, 1, 1]),
            conv(1, (c, c), c, (5, 4), (7, 7), (1, 2), (2, 1), [6, 3, 6, 3]),
            conv(1, (c, c), c, (1, 30), (1, 4), (1, 1), (1, 1), [0, 2, 0, 1]),
            conv(1, (c, c), c, (3, 3), (3, 3), (1, 1), (1, 1), [0; 4]),
            conv(1, (c, c), c, (2, 1), (2, 2), (1, 1), (1, 1), [0; 4]),
        ];
        for (seed, case) in cases.iter().enumerate() {
            run(Path::Depthwise, case, seed as u64);
        }
    }
}

#[test]
fn plain() {
    let mut cases = dense();
    cases.push(conv(2, (12, 18), 6, (8, 19), (3, 3), (1, 1), (2, 2), [2; 4]));
    cases.push(conv(1, (6, 6), 6, (9, 9), (3, 3), (2, 1), (1, 1), [1; 4]));
    cases.push(conv(1, (4, 8), 4, (5, 40), (1, 3), (1, 1), (1, 1), [0, 1, 0, 1]));
    for (seed, c) in cases.iter().enumerate() {
        run(Path::Plain, c, seed as u64);
    }
}

#[test]
fn plain_in_three_dimensions() {
    let c = PlainConv {
        batch: 2,
        channels: (3, 5),
        groups: 1,
        input: [4, 6, 7],
        kernel: [2, 3, 3],
        stride: [1, 2, 1],
        dilation: [2, 1, 1],
        pads_begin: [1, 1, 0],
        pads_end: [0, 1, 2],
    };
    let mut rng = Rng::new(1);
    let (x, w) = (rng.vec(2 * 3 * 4 * 6 * 7), rng.vec(5 * 3 * 18));
    let want = naive(&c, &x, &w);
    every(
        want.len(),
        |isa, par, y| {
            let mut scratch = vec![0.0; plain_scratch(&c, par)];
            conv_plain(isa, par, &c, &x, &w, y, &Epilogue::default(), &mut scratch);
        },
        |tier, y| close(y, &want, 1e-5, tier),
    );
}

#[test]
fn transposed() {
    let base = TransposedConv {
        batch: 1,
        channels: (4, 6),
        groups: 1,
        input: [1, 5, 7],
        output: [1, 10, 14],
        kernel: [1, 2, 2],
        stride: [1, 2, 2],
        dilation: [1, 1, 1],
        pads_begin: [0, 0, 0],
    };
    let cases = [
        base,
        TransposedConv { kernel: [1, 4, 4], pads_begin: [0, 1, 1], batch: 2, ..base },
        TransposedConv { kernel: [1, 3, 3], pads_begin: [0, 1, 2], groups: 2, output: [1, 11, 13], ..base },
        TransposedConv {
            kernel: [2, 3, 1],
            input: [3, 4, 5],
            stride: [2, 1, 3],
            dilation: [1, 2, 1],
            output: [6, 8, 13],
            ..base
        },
        TransposedConv { channels: (1, 1), input: [1, 1, 1], output: [1, 3, 3], kernel: [1, 3, 3], ..base },
        TransposedConv { channels: (40, 33), kernel: [1, 3, 3], output: [1, 11, 15], ..base },
    ];
    for (seed, c) in cases.iter().enumerate() {
        let mut rng = Rng::new(seed as u64);
        let (ic, oc) = c.channels;
        let (gic, goc) = (ic / c.groups, oc / c.groups);
        let ([d, h, w], [od, oh, ow], [kd, kh, kw]) = (c.input, c.output, c.kernel);
        let x = rng.vec(c.batch * ic * d * h * w);
        let weights = rng.vec(ic * goc * kd * kh * kw);
        let (bias, res) = (rng.vec(oc), rng.vec(c.batch * oc * od * oh * ow));
        let mut sums = vec![0.0f64; res.len()];
        for (i, &v) in x.iter().enumerate() {
            let (p, channel, n) = (i % (d * h * w), i / (d * h * w) % ic, i / (d * h * w) / ic);
            let at = [p / (h * w), p / w % h, p % w];
            for o in 0..goc {
                for t in 0..kd * kh * kw {
                    let k = [t / (kh * kw), t / kw % kh, t % kw];
                    let [z, y, x]: [usize; 3] = std::array::from_fn(|a| {
                        (at[a] * c.stride[a] + k[a] * c.dilation[a]).wrapping_sub(c.pads_begin[a])
                    });
                    if z < od && y < oh && x < ow {
                        let out = n * oc + channel / gic * goc + o;
                        let weight = weights[(channel * goc + o) * kd * kh * kw + t];
                        sums[((out * od + z) * oh + y) * ow + x] += f64::from(v) * f64::from(weight);
                    }
                }
            }
        }
        let packed = pack_transposed_weights(c, &weights);
        for (activation, mode) in [(Activation::None, 0), (Activation::Relu, 1), (Activation::Gelu, 2)] {
            let want: Vec<f64> = (0..sums.len())
                .map(|i| {
                    let v = sums[i] + f64::from(bias[i / (od * oh * ow) % oc]);
                    let r = f64::from(res[i]);
                    match mode {
                        0 => check::activation(activation, v),
                        1 => check::activation(activation, v + r),
                        _ => check::activation(activation, v) + r,
                    }
                })
                .collect();
            every(
                want.len(),
                |isa, par, y| {
                    let residual = (mode > 0).then(|| Residual::new(&res, 0));
                    let bias = Bias::PerRow(&bias);
                    let e = Epilogue { bias, residual, activation, residual_after_activation: mode == 2 };
                    let mut scratch = vec![f32::NAN; transposed_scratch(c, par)];
                    conv_transposed(isa, par, c, &x, &packed, y, &e, &mut scratch);
                },
                |tier, y| close(y, &want, 3e-5, &format!("{tier} {activation:?} {c:?}")),
            );
        }
    }
}
