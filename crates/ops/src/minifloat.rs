//! Floats of 8 and 4 bits: exact decoding, encoding that rounds to nearest even.
//!
//! Formats as in ONNX's `TensorProto.DataType` (OCP FP8 and MX, and the `FNUZ` variants, which have no infinities
//! and no negative zero).

use crate::scalar::Rounding;
use planc_tensor::DType;

/// What the codes beyond the finite numbers mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Specials {
    /// The top exponent holds infinity and NaN, as in IEEE 754.
    Ieee,
    /// Only the code of all ones is NaN; no infinity.
    Fn,
    /// Only the code of negative zero is NaN; no infinity.
    Fnuz,
    /// Every code is a number.
    None,
}

/// How a number becomes a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerRounding {
    /// The next power that is not smaller.
    Up,
    /// The next power that is not larger.
    Down,
    /// The nearest power; halfway goes up.
    Nearest,
}

/// A format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Sign, exponent and mantissa.
    Signed(Signed),
    /// An exponent alone: 2^(code - 127), 255 is NaN.
    Power,
}

/// A format with sign, exponent and mantissa bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed {
    exponent: u32,
    mantissa: u32,
    bias: i32,
    specials: Specials,
}

/// The format of `dtype`; `None` for other types.
pub fn format(dtype: DType) -> Option<Format> {
    let signed = |exponent, mantissa, bias, specials| Format::Signed(Signed { exponent, mantissa, bias, specials });
    Some(match dtype {
        DType::F8E4M3FN => signed(4, 3, 7, Specials::Fn),
        DType::F8E4M3FNUZ => signed(4, 3, 8, Specials::Fnuz),
        DType::F8E5M2 => signed(5, 2, 15, Specials::Ieee),
        DType::F8E5M2FNUZ => signed(5, 2, 16, Specials::Fnuz),
        DType::F4E2M1 => signed(2, 1, 1, Specials::None),
        DType::F8E8M0 => Format::Power,
        _ => return None,
    })
}

impl Format {
    /// The number with this code.
    pub fn decode(self, code: u8) -> f64 {
        match self {
            Format::Signed(f) => f.decode(code),
            Format::Power if code == u8::MAX => f64::NAN,
            Format::Power => power_of_two(i32::from(code) - 127),
        }
    }

    /// The code of the number nearest to `v`.
    pub fn encode(self, v: f64, rounding: Rounding) -> u8 {
        match self {
            Format::Signed(f) => f.encode(v, rounding.saturate),
            Format::Power => encode_power(v, rounding),
        }
    }
}

/// 2^e for exponents of normal `f64`.
fn power_of_two(e: i32) -> f64 {
    f64::from_bits(((e + 1023) as u64) << 52)
}

/// Exponent of the leading bit of a positive, finite, normal number.
fn exponent_of(v: f64) -> i32 {
    ((v.to_bits() >> 52) & 0x7FF) as i32 - 1023
}

impl Signed {
    fn sign_bit(self) -> u8 {
        1 << (self.exponent + self.mantissa)
    }

    /// Codes without the sign that are finite numbers: `0..=max_code`.
    fn max_code(self) -> u8 {
        let all = self.sign_bit() - 1;
        match self.specials {
            Specials::Ieee => all - (1 << self.mantissa),
            Specials::Fn => all - 1,
            Specials::Fnuz | Specials::None => all,
        }
    }

    fn nan(self, sign: u8) -> u8 {
        match self.specials {
            // The quiet NaN that conversions of other software give: exponent and top mantissa bit.
            Specials::Ieee => sign | (self.max_code() + 1) | (1 << (self.mantissa - 1)),
            Specials::Fn => sign | (self.sign_bit() - 1),
            Specials::Fnuz => self.sign_bit(),
            Specials::None => self.sign_bit(),
        }
    }

    fn decode(self, code: u8) -> f64 {
        let (sign, magnitude) = (code & self.sign_bit(), code & (self.sign_bit() - 1));
        if self.specials == Specials::Fnuz && code == self.sign_bit() {
            return f64::NAN;
        }
        let value = if magnitude > self.max_code() {
            let infinite = self.specials == Specials::Ieee && magnitude == self.max_code() + 1;
            if infinite { f64::INFINITY } else { f64::NAN }
        } else {
            let exponent = i32::from(magnitude >> self.mantissa);
            let fraction = f64::from(magnitude & ((1 << self.mantissa) - 1));
            let unit = power_of_two(exponent.max(1) - self.bias - self.mantissa as i32);
            unit * (fraction + if exponent > 0 { f64::from(1u32 << self.mantissa) } else { 0.0 })
        };
        if sign != 0 { -value } else { value }
    }

    fn encode(self, v: f64, saturate: bool) -> u8 {
        let sign = if v.is_sign_negative() { self.sign_bit() } else { 0 };
        if v.is_nan() {
            return self.nan(sign);
        }
        let (magnitude, mantissa) = (v.abs(), self.mantissa as i32);
        let max = self.decode(self.max_code());
        let code = if magnitude > 4.0 * max {
            None
        } else {
            // The grid around the number, never finer than that of the subnormals.
            let lowest = 1 - self.bias;
            let exponent = if magnitude < power_of_two(lowest) { lowest } else { exponent_of(magnitude) };
            let rounded = (magnitude / power_of_two(exponent - mantissa)).round_ties_even();
            // Consecutive codes are consecutive grid points, also across exponents.
            let code = (exponent - lowest) * (1 << self.mantissa) + rounded as i32;
            u8::try_from(code).ok().filter(|c| *c <= self.max_code())
        };
        match code {
            Some(0) if self.specials == Specials::Fnuz => 0,
            Some(code) => sign | code,
            None if saturate || self.specials == Specials::None => sign | self.max_code(),
            None if self.specials == Specials::Ieee => sign | (self.max_code() + 1),
            None => self.nan(sign),
        }
    }
}

fn encode_power(v: f64, rounding: Rounding) -> u8 {
    const NAN: u8 = u8::MAX;
    const MAX: u8 = 254;
    let v = v.abs();
    if v.is_nan() {
        return NAN;
    }
    if v < power_of_two(-127) {
        return if rounding.saturate { 0 } else { NAN };
    }
    if v.is_infinite() {
        return if rounding.saturate { MAX } else { NAN };
    }
    let (exponent, fraction) = (exponent_of(v), v.to_bits() & ((1 << 52) - 1));
    let up = match rounding.powers {
        PowerRounding::Up => fraction != 0,
        PowerRounding::Down => false,
        PowerRounding::Nearest => fraction >= 1 << 51,
    };
    match exponent + i32::from(up) {
        e if e > 127 && !rounding.saturate => NAN,
        e => (e.min(127) + 127) as u8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives() {
        for t in [DType::F8E4M3FN, DType::F8E4M3FNUZ, DType::F8E5M2, DType::F8E5M2FNUZ, DType::F4E2M1, DType::F8E8M0] {
            let f = format(t).unwrap();
            for code in 0..=(if t == DType::F4E2M1 { 15 } else { 255u8 }) {
                let v = f.decode(code);
                let again = f.encode(v, Rounding { saturate: false, ..Rounding::default() });
                assert!(again == code || v.is_nan() && f.decode(again).is_nan(), "{t} {code}: {v} gives {again}");
            }
        }
    }

    #[test]
    fn ranges_are_those_of_the_formats() {
        let max = |t| match format(t).unwrap() {
            Format::Signed(f) => f.decode(f.max_code()),
            Format::Power => 0.0,
        };
        assert_eq!(max(DType::F8E4M3FN), 448.0);
        assert_eq!(max(DType::F8E4M3FNUZ), 240.0);
        assert_eq!(max(DType::F8E5M2), 57344.0);
        assert_eq!(max(DType::F8E5M2FNUZ), 57344.0);
        assert_eq!(max(DType::F4E2M1), 6.0);
    }
}
