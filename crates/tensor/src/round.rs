//! Rounding of f64 to 16-bit floats in one step.

use half::{bf16, f16};

/// The `f16` nearest to `v`, ties to even.
pub fn f16_from_f64(v: f64) -> f16 {
    f16::from_f32(to_odd(v))
}

/// The `bf16` nearest to `v`, ties to even.
pub fn bf16_from_f64(v: f64) -> bf16 {
    bf16::from_f32(to_odd(v))
}

/// The f32 from which rounding to 16 bits gives what rounding `v` itself would: an inexact one is made odd (Boldo and
/// Melquiond, "Emulation of a FMA and correctly rounded sums", 2008). Rounding to nearest twice would not, and `half`'s
/// own conversions ignore low bits.
fn to_odd(v: f64) -> f32 {
    let nearest = v as f32;
    if v.is_nan() || f64::from(nearest) == v {
        return nearest;
    }
    let toward_zero = nearest.to_bits() - u32::from(f64::from(nearest).abs() > v.abs());
    f32::from_bits(toward_zero | 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bit_above_a_tie_rounds_up() {
        let above = 1.0 + 2f64.powi(-11) + 2f64.powi(-50);
        assert_eq!(f16_from_f64(above).to_f64(), 1.0 + 2f64.powi(-10));
        assert_eq!(f16_from_f64(1.0 + 2f64.powi(-11)).to_f64(), 1.0, "a tie goes to even");
        assert_eq!(f16_from_f64(-above).to_f64(), -1.0 - 2f64.powi(-10));
        let above = 1.0 + 2f64.powi(-8) + 2f64.powi(-50);
        assert_eq!(bf16_from_f64(above).to_f64(), 1.0 + 2f64.powi(-7));
        assert_eq!(bf16_from_f64(1.0 + 2f64.powi(-8)).to_f64(), 1.0);
    }

    #[test]
    fn ends_of_the_range() {
        assert_eq!(f16_from_f64(65_520.0), f16::INFINITY);
        assert_eq!(f16_from_f64(65_519.999_999_999), f16::MAX);
        assert_eq!(f16_from_f64(1e300), f16::INFINITY);
        assert_eq!(f16_from_f64(1e-300), f16::ZERO);
        assert_eq!(bf16_from_f64(-1e300), bf16::NEG_INFINITY);
        assert!(f16_from_f64(f64::NAN).is_nan() && bf16_from_f64(f64::NAN).is_nan());
    }
}
