//! Every function on every tier against f64, over its whole range and at special values.

use super::*;
use crate::check::{self, Rng, every};

/// Points: dense around zero, over the useful range, random bit patterns, and the special values.
fn points() -> Vec<f32> {
    let mut x: Vec<f32> = (-4000..4000).map(|i| i as f32 * 0.002_5).collect();
    x.extend((-2000..2000).map(|i| i as f32 * 0.06));
    x.extend((-140..120).map(|e| 1.7f32 * (e as f32).exp2()));
    x.extend((-140..120).map(|e| -1.3f32 * (e as f32).exp2()));
    let mut rng = Rng::new(5);
    x.extend((0..4000).map(|_| f32::from_bits(rng.bits() as u32)).filter(|x| !x.is_nan()));
    x.extend([0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::MIN_POSITIVE, 1e-45, 88.7, 88.8, -87.4, -104.5]);
    x
}

/// Checks `op` against `want`: `|error| <= rel |want| + abs`.
#[track_caller]
fn agrees(op: Unary, rel: f64, abs: f64, want: impl Fn(f64) -> f64) {
    let x = points();
    every(
        x.len(),
        |isa, par, y| map(isa, par, op, &x, y),
        |tier, y| {
            for (&x, &y) in x.iter().zip(y) {
                let want = want(x.into());
                let fine = if want.is_nan() || f64::from(want as f32).is_infinite() {
                    f64::from(y).to_bits() == f64::from(want as f32).to_bits() || (y.is_nan() && want.is_nan())
                } else {
                    (f64::from(y) - want).abs() <= rel * want.abs() + abs
                };
                assert!(fine, "{tier} {op:?}({x:e}) is {y:e}, not {want:e}");
            }
        },
    );
    // NaN passes through, also in place.
    for isa in crate::isa::Isa::available() {
        let mut x = [f32::NAN; 19];
        map_in_place(isa, &crate::par::Serial, op, &mut x);
        assert!(x.iter().all(|v| v.is_nan()), "{} {op:?}(nan)", isa.tier());
    }
}

#[test]
fn elementary_functions() {
    agrees(Unary::Exp, 2e-7, 1.2e-38, f64::exp);
    agrees(Unary::Log, 4e-7, 0.0, f64::ln);
    agrees(Unary::Erf, 4e-7, 1e-44, check::erf);
    agrees(Unary::Sqrt, 1e-7, 0.0, f64::sqrt);
    agrees(Unary::Reciprocal, 1e-7, 1e-44, |x| 1.0 / x);
}

#[test]
fn activations() {
    use Activation as A;
    for (a, rel, abs) in [
        (A::None, 0.0, 0.0),
        (A::Relu, 0.0, 0.0),
        (A::Clip(-1.5, 6.0), 0.0, 0.0),
        (A::LeakyRelu(0.1), 1e-7, 1e-44),
        (A::Elu(1.3), 1e-7, 2e-7),
        (A::Sigmoid, 4e-7, 1e-37),
        (A::HardSigmoid(0.2, 0.5), 2e-7, 1e-7),
        (A::HardSwish, 4e-7, 3e-7),
        (A::Silu, 4e-7, 1.1e-36),
        (A::Tanh, 4e-7, 1e-44),
        (A::Softplus, 5e-7, 1e-37),
        (A::Mish, 9e-7, 1.1e-36),
        (A::Gelu, 1e-6, 3e-8),
        (A::GeluTanh, 2e-6, 3e-7),
    ] {
        // Products with an infinity of the wrong sign are NaN or -0 by formula; the limit is what counts there.
        let limit = |x: f64| if x == f64::NEG_INFINITY || x < -1e20 { f64::NAN } else { check::activation(a, x) };
        let x: Vec<f32> = points().into_iter().filter(|&x| !limit(x.into()).is_nan() && x.abs() < 1e12).collect();
        every(
            x.len(),
            |isa, par, y| map(isa, par, Unary::Activation(a), &x, y),
            |tier, y| {
                for (&x, &y) in x.iter().zip(y) {
                    let want = limit(x.into());
                    assert!(
                        (f64::from(y) - want).abs() <= rel * want.abs() + abs,
                        "{tier} {a:?}({x:e}) = {y:e}, not {want:e}"
                    );
                }
            },
        );
    }
}
