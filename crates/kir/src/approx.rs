//! Coefficients of elementary functions of f32: one table for all that compute them by arithmetic, on processors and devices.
//!
//! Minimax fits (Lawson's iteration) made for planc, lowest power first; range reduction is that of Cody and Waite, "Software
//! Manual for the Elementary Functions". What is made of them, and with which error, is up to the kernels.
#![allow(clippy::excessive_precision, reason = "coefficients as fitted; the compiler rounds them")]

/// The natural logarithm of 2, with so few bits that multiples of it by exponents of f32 are exact.
pub const LN2_HI: f32 = 0.693_359_4;
/// What is left of the logarithm of 2 beside [`LN2_HI`].
pub const LN2_LO: f32 = -2.121_944_4e-4;

/// `(e^r - 1 - r) / r^2` for `|r| <= log(2) / 2`.
pub const EXP: [f32; 5] = [0.5, 0.166_665_73, 0.041_666_86, 0.008_363_740_5, 0.001_390_153];

/// `(log(1 + f) - f + f^2 / 2) / f^3` for `1 + f` from `sqrt(1/2)` to `sqrt(2)`.
pub const LOG: [f32; 9] = [
    0.333_333_32,
    -0.249_999_94,
    0.200_007_15,
    -0.166_680_57,
    0.142_493_22,
    -0.124_201_476,
    0.116_770_11,
    -0.115_145_715,
    0.070_375_93,
];

/// `(tanh(x) - x) / x^3` by powers of `x^2`, for `|x| < 0.625`.
pub const TANH: [f32; 6] =
    [-0.333_333_34, 0.133_333_01, -0.053_958_602, 0.021_763_618, -0.008_326_749, 0.002_273_441_4];

/// `erf(x) / x` by powers of `x^2`, for `|x| < 1`.
pub const ERF: [f32; 7] = [
    std::f32::consts::FRAC_2_SQRT_PI,
    -0.376_126_26,
    0.112_835_854,
    -0.026_853_813,
    0.005_188_327_7,
    -8.010_193e-4,
    7.853_858e-5,
];

/// `log(1 - erf(x))` for `x` from 1 to 4.1; beyond, `erf` is 1.
pub const LOG_ERFC: [f32; 10] = [
    4.003_285_2e-4,
    -1.130_605_7,
    -0.631_082_2,
    -0.110_919_86,
    0.027_011_722,
    -0.005_028_193_7,
    6.759_108_3e-4,
    -6.062_841_7e-5,
    3.162_667e-6,
    -6.928_969e-8,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interp::scalar::erf;

    /// The largest difference of a polynomial from a function on an interval, in f64, of the function's largest magnitude.
    fn worst(c: &[f32], from: f64, to: f64, of: impl Fn(f64) -> (f64, f64)) -> f64 {
        let at = |i: u32| of(from + (to - from) * f64::from(i) / 999.0);
        let poly = |x: f64| c.iter().rev().fold(0f64, |y, c| y * x + f64::from(*c));
        let largest = (0..1000).map(|i| at(i).1.abs()).fold(0f64, f64::max);
        (0..1000).map(|i| (poly(at(i).0) - at(i).1).abs()).fold(0f64, f64::max) / largest
    }

    #[test]
    fn polynomials_are_close_to_what_they_stand_for() {
        let half = std::f64::consts::LN_2 / 2.0;
        assert!(worst(&EXP, -half, half, |r| (r, (r.exp_m1() - r) / (r * r))) < 2e-7);
        let (low, high) = (0.5f64.sqrt() - 1.0, 2f64.sqrt() - 1.0);
        assert!(worst(&LOG, low, high, |f| (f, (f.ln_1p() - f + f * f / 2.0) / (f * f * f))) < 1e-7);
        assert!(worst(&TANH, 0.01, 0.625, |x| (x * x, (x.tanh() - x) / (x * x * x))) < 1e-7);
        assert!(worst(&ERF, 0.01, 1.0, |x| (x * x, erf(x) / x)) < 1e-7);
        assert!(worst(&LOG_ERFC, 1.0, 4.1, |x| (x, (1.0 - erf(x)).ln())) < 1e-7);
        let exact = f64::from(LN2_HI) + f64::from(LN2_LO) - std::f64::consts::LN_2;
        assert!(exact.abs() < 1e-11 && (LN2_HI * 512.0).fract() == 0.0);
    }
}
