//! Conversion between f32 and the 16-bit floats f16 (IEEE binary16) and bf16.
//!
//! The conversions are branch-free arithmetic on bits, written once and compiled to whole vectors for each tier, so
//! results are the same bits everywhere. To 16 bits they round to nearest, ties to even; what is too large becomes
//! infinite, what is too small subnormal or zero. NaN becomes a quiet NaN with its sign and leading payload bits.
//!
//! For f16 the exponent moves within the bits, and an addition or subtraction of floats shifts the significands of
//! subnormals (after F. Giesen, "Half to float done quick", 2012).

use crate::isa::{Isa, Kernel, Simd};
use crate::par::{Parallel, Shared, ranges};
use planc_tensor::{Element, bf16, f16};

/// An element type that converts to another.
pub trait ConvertTo<Y>: Element {
    /// The element as a `Y`, rounded to nearest, ties to even.
    fn convert(self) -> Y;
}

/// 2^112 in the exponent of f32: what the biases of f32 and f16 differ by.
const REBIAS: u32 = 112 << 23;
/// The bits of infinity.
const INFINITY: u32 = 0x7f80_0000;

impl ConvertTo<f32> for f16 {
    #[inline(always)]
    fn convert(self) -> f32 {
        const TOP: u32 = 0x7c00 << 13;
        const LEAST_NORMAL: u32 = REBIAS + (1 << 23);
        let bits = u32::from(self.to_bits());
        let magnitude = (bits & 0x7fff) << 13;
        let quiet = if magnitude > TOP { 0x0040_0000 } else { 0 };
        let special = magnitude.wrapping_add(2 * REBIAS) | quiet;
        // As if there were a leading one, which is taken off again.
        let subnormal = f32::from_bits(magnitude.wrapping_add(LEAST_NORMAL)) - f32::from_bits(LEAST_NORMAL);
        let normal = magnitude.wrapping_add(REBIAS);
        let magnitude = match () {
            () if magnitude >= TOP => special,
            () if magnitude < 1 << 23 => subnormal.to_bits(),
            () => normal,
        };
        f32::from_bits(magnitude | (bits & 0x8000) << 16)
    }
}

impl ConvertTo<f16> for f32 {
    #[inline(always)]
    fn convert(self) -> f16 {
        const LEAST_NORMAL: u32 = REBIAS + (1 << 23);
        const TOO_LARGE: u32 = 0x7c00 << 13;
        let bits = self.to_bits();
        let magnitude = bits & 0x7fff_ffff;
        let nan = 0x7e00 | (magnitude >> 13 & 0x3ff);
        // The spacing of floats at 0.5 is that of f16's subnormals.
        let subnormal = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0.5f32.to_bits());
        let odd = magnitude >> 13 & 1;
        let normal = magnitude.wrapping_sub(REBIAS).wrapping_add(0xfff + odd) >> 13;
        let magnitude = match () {
            () if magnitude > INFINITY => nan,
            () if magnitude >= TOO_LARGE + REBIAS => 0x7c00,
            () if magnitude < LEAST_NORMAL => subnormal,
            () => normal,
        };
        f16::from_bits((magnitude | bits >> 16 & 0x8000) as u16)
    }
}

impl ConvertTo<f32> for bf16 {
    #[inline(always)]
    fn convert(self) -> f32 {
        let bits = u32::from(self.to_bits()) << 16;
        let quiet = if bits & 0x7fff_ffff > INFINITY { 0x0040_0000 } else { 0 };
        f32::from_bits(bits | quiet)
    }
}

impl ConvertTo<bf16> for f32 {
    #[inline(always)]
    fn convert(self) -> bf16 {
        let bits = self.to_bits();
        let nan = bits >> 16 | 0x40;
        let odd = bits >> 16 & 1;
        let rounded = bits.wrapping_add(0x7fff + odd) >> 16;
        bf16::from_bits(if bits & 0x7fff_ffff > INFINITY { nan } else { rounded } as u16)
    }
}

/// Elements that tasks are cut at: pages of results.
const CHUNK: usize = 2048;

/// `y[i] = x[i]`.
///
/// # Panics
/// If the lengths differ.
pub fn convert<X: ConvertTo<Y>, Y: Element>(isa: Isa, par: &dyn Parallel, x: &[X], y: &mut [Y]) {
    assert_eq!(x.len(), y.len(), "slices of different lengths");
    let (len, to) = (x.len(), Shared::new(y));
    ranges(par, len.div_ceil(CHUNK), CHUNK, |chunks| {
        let (start, end) = (chunks.start * CHUNK, len.min(chunks.end * CHUNK));
        // SAFETY: `start..end` is within the result, and no other task has these elements.
        let y = unsafe { std::slice::from_raw_parts_mut(to.get().add(start), end - start) };
        isa.run(Each { x: &x[start..end], y });
    });
}

struct Each<'a, X, Y> {
    x: &'a [X],
    y: &'a mut [Y],
}

impl<X: ConvertTo<Y>, Y> Kernel for Each<'_, X, Y> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (y, x) in self.y.iter_mut().zip(self.x) {
            *y = x.convert();
        }
    }
}

#[cfg(test)]
mod tests {
    //! All 16-bit values, and the neighbourhood of every tie, against the crate that defines the types.

    use super::*;
    use crate::check::{Rng, Threads};
    use crate::par::Serial;

    /// Checks a conversion on every tier, for awkward lengths and thread counts.
    #[track_caller]
    fn check<X: ConvertTo<Y>, Y: Element>(x: &[X], want: impl Fn(X) -> Y) {
        let want: Vec<Y> = x.iter().map(|x| want(*x)).collect();
        for isa in Isa::available() {
            for (len, threads) in [(x.len(), 1), (x.len(), 3), (0, 1), (1, 1), (37, 2), (2049, 2)] {
                let mut y = vec![Y::default(); len];
                let par: &dyn Parallel = if threads == 1 { &Serial } else { &Threads(threads) };
                convert(isa, par, &x[..len], &mut y);
                let at = Y::to_bytes(&y).iter().zip(Y::to_bytes(&want[..len])).position(|(a, b)| a != b);
                let at = at.map(|i| i / size_of::<Y>());
                assert!(at.is_none(), "{} {:?}", isa.tier(), at.map(|i| (x[i], y[i], want[i])));
            }
        }
    }

    fn all() -> impl Iterator<Item = u16> {
        0..=u16::MAX
    }

    #[test]
    fn from_16_bits() {
        check(&all().map(f16::from_bits).collect::<Vec<_>>(), |x| x.to_f32());
        check(&all().map(bf16::from_bits).collect::<Vec<_>>(), |x| x.to_f32());
    }

    #[test]
    fn to_16_bits() {
        let near = |x: f32, y: f32| {
            let middle = ((f64::from(x) + f64::from(y)) / 2.0) as f32;
            [
                x,
                middle,
                f32::from_bits(middle.to_bits().wrapping_add(1)),
                f32::from_bits(middle.to_bits().wrapping_sub(1)),
            ]
        };
        let mut x: Vec<f32> = vec![];
        for i in all() {
            let next = i.wrapping_add(1);
            x.extend(near(f16::from_bits(i).to_f32(), f16::from_bits(next).to_f32()));
            x.extend(near(bf16::from_bits(i).to_f32(), bf16::from_bits(next).to_f32()));
        }
        let mut rng = Rng::new(5);
        x.extend((0..100_000).map(|_| f32::from_bits(rng.bits() as u32)));
        x.extend([65504.0, 65519.996, 65520.0, 65536.0, f32::MAX, f32::INFINITY, f32::MIN_POSITIVE, -0.0]);
        check(&x, f16::from_f32);
        check(&x, bf16::from_f32);
    }
}
