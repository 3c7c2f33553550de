//! Discrete Fourier transforms in f64: halves where the length is even, the defining sum where it is odd.

/// A complex number.
pub(crate) type Complex = planc_tensor::Complex<f64>;

/// y[k] = sum over n of x[n] exp(sign 2 pi i k n / N), not scaled; `inverse` has the positive sign.
pub(crate) fn transform(x: &[Complex], inverse: bool) -> Vec<Complex> {
    let n = x.len();
    let angle = if inverse { 2.0 } else { -2.0 } * std::f64::consts::PI / n.max(1) as f64;
    let roots: Vec<Complex> = (0..n).map(|k| Complex::from_polar(1.0, angle * k as f64)).collect();
    let mut out = vec![Complex::default(); n];
    step(x, 1, &roots, &mut out);
    out
}

/// Transforms every `stride`-th element of `x`, as many as `out` has.
fn step(x: &[Complex], stride: usize, roots: &[Complex], out: &mut [Complex]) {
    let n = out.len();
    if n < 2 || !n.is_multiple_of(2) {
        for (k, y) in out.iter_mut().enumerate() {
            *y = (0..n).map(|i| x[i * stride] * roots[i * k % n * stride]).sum();
        }
        return;
    }
    let (even, odd) = out.split_at_mut(n / 2);
    step(x, stride * 2, roots, even);
    step(&x[stride..], stride * 2, roots, odd);
    for (k, (a, b)) in even.iter_mut().zip(odd).enumerate() {
        let (e, o) = (*a, *b * roots[k * stride]);
        (*a, *b) = (e + o, e - o);
    }
}

/// The matrix `[rows, bins * 2]` that takes a real signal of `rows` elements, windowed by `window`, to the first `bins`
/// bins of its transform of length `n`, real and imaginary parts side by side. Elements past `n` do not count.
pub(crate) fn matrix(rows: usize, n: usize, bins: usize, window: impl Fn(usize) -> f64) -> Vec<f64> {
    let mut m = Vec::with_capacity(rows * bins * 2);
    for i in 0..rows {
        let w = if i < n { window(i) } else { 0.0 };
        for k in 0..bins {
            // The product is reduced first: angles stay small and exact.
            let angle = -2.0 * std::f64::consts::PI * ((i * k) % n) as f64 / n as f64;
            m.extend([w * angle.cos(), w * angle.sin()]);
        }
    }
    m
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halving_and_the_defining_sum_agree() {
        for n in [1, 2, 3, 6, 8, 12, 15] {
            let x: Vec<Complex> = (0..n).map(|i| Complex::new(i as f64, (i * i % 5) as f64)).collect();
            let sum = |k: usize| -> Complex {
                let turn = |i: usize| Complex::from_polar(1.0, -2.0 * std::f64::consts::PI * (i * k) as f64 / n as f64);
                (0..n).map(|i| x[i] * turn(i)).sum()
            };
            for (k, y) in transform(&x, false).iter().enumerate() {
                assert!((y - sum(k)).norm() < 1e-9, "{n}");
            }
            let back = transform(&transform(&x, false), true);
            assert!(back.iter().zip(&x).all(|(a, b)| (a / n as f64 - b).norm() < 1e-9));
        }
    }
}
