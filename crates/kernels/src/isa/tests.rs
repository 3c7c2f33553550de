//! Tier names, detection, and each vector operation against its scalar meaning.

use super::*;

#[test]
fn names_round_trip() {
    for tier in Tier::ALL {
        assert_eq!(Tier::mask(tier.name()), Some(tier));
        assert_eq!(tier.to_string(), tier.name());
    }
    assert_eq!(Tier::mask("sse9"), None);
}

#[test]
fn a_mask_never_exceeds_the_machine() {
    for tier in Tier::ALL {
        let isa = Isa::at_most(tier);
        assert!(isa.tier() <= Tier::detect().max(Tier::Scalar));
        assert!(isa.tier() <= tier || isa.tier() == Tier::Scalar);
    }
    assert_eq!(Isa::at_most(Tier::Scalar).tier(), Tier::Scalar);
    assert_eq!(Isa::at_most(Tier::detect()), Isa::detect());
    #[cfg(target_arch = "x86_64")]
    assert_eq!(Isa::at_most(Tier::Neon).tier(), Tier::Scalar);
}

/// Applies every operation to two lanes' worth of numbers and compares with plain Rust.
struct Operations;

impl Kernel for Operations {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let n = S::LANES;
        let x: Vec<f32> = (0..n).map(|i| i as f32 * 1.25 - 6.5).collect();
        let y: Vec<f32> = (0..n).map(|i| 3.5 - i as f32 * 0.75).collect();
        // SAFETY: all buffers hold `n` lanes.
        unsafe {
            let (a, b) = (s.load(x.as_ptr()), s.load(y.as_ptr()));
            let check = |name: &str, v: S::V, f: &dyn Fn(f32, f32) -> f32| {
                let mut out = vec![0.0; n];
                s.store(out.as_mut_ptr(), v);
                for i in 0..n {
                    assert_eq!(out[i], f(x[i], y[i]), "{name} of {} and {}", x[i], y[i]);
                }
            };
            let words: Vec<i32> = (0..n as i32).map(|i| (i - 3).wrapping_mul(0x1234_5677)).collect();
            let halves: Vec<u16> = (0..n as u16).map(|i| 0x0001 + i * 0x0fff).collect();
            let bytes: Vec<i8> = (0..n as i32).map(|i| (i * 17 - 128) as i8).collect();
            let loaded = |name: &str, v: S::V, want: &dyn Fn(usize) -> f32| {
                let mut out = vec![0.0; n];
                s.store(out.as_mut_ptr(), v);
                // NaN keeps being one, whatever its bits.
                let same = |(i, got): (usize, &f32)| *got == want(i) || got.is_nan() && want(i).is_nan();
                assert!(out.iter().enumerate().all(same), "{name}: {out:?}");
            };
            loaded("f16", s.load_f16(halves.as_ptr()), &|i| planc_tensor::f16::from_bits(halves[i]).to_f32());
            loaded("bf16", s.load_bf16(halves.as_ptr()), &|i| planc_tensor::bf16::from_bits(halves[i]).to_f32());
            loaded("i8", s.load_i8(bytes.as_ptr()), &|i| f32::from(bytes[i]));
            let w = s.iload(words.as_ptr());
            loaded("low nibble", s.nibble::<28>(w), &|i| (words[i] << 28 >> 28) as f32);
            loaded("nibble", s.nibble::<12>(w), &|i| (words[i] << 12 >> 28) as f32);
            loaded("high nibble", s.nibble::<0>(w), &|i| (words[i] >> 28) as f32);
            check("add", s.add(a, b), &|x, y| x + y);
            check("sub", s.sub(a, b), &|x, y| x - y);
            check("mul", s.mul(a, b), &|x, y| x * y);
            check("div", s.div(a, b), &|x, y| x / y);
            check("fma", s.fma(a, b, a), &|x, y| x * y + x);
            check("min", s.min(a, b), &f32::min);
            check("max", s.max(a, b), &f32::max);
            check("sqrt", s.sqrt(s.abs(a)), &|x, _| x.abs().sqrt());
            check("round", s.round(a), &|x, _| x.round_ties_even());
            check("abs", s.abs(a), &|x, _| x.abs());
            check("copysign", s.copysign(a, b), &f32::copysign);
            check("lt", s.select(s.lt(a, b), a, b), &|x, y| if x < y { x } else { y });
            check("le", s.select(s.le(b, a), a, b), &|x, y| if y <= x { x } else { y });
            check("eq", s.select(s.eq(a, a), b, a), &|_, y| y);
            check("int", s.to_float(s.to_int(a)), &|x, _| x.round_ties_even());
            check("bits", s.of_bits(s.iand(s.bits(a), s.isplat(0x7fff_ffff))), &|x, _| x.abs());
            let int = |v: S::I| s.to_float(v);
            check("iadd", int(s.iadd(s.to_int(a), s.isplat(7))), &|x, _| x.round_ties_even() + 7.0);
            check("isub", int(s.isub(s.to_int(a), s.isplat(7))), &|x, _| x.round_ties_even() - 7.0);
            check("ishl", int(s.ishl::<3>(s.to_int(a))), &|x, _| x.round_ties_even() * 8.0);
            check("isra", int(s.isra::<1>(s.to_int(a))), &|x, _| (x.round_ties_even() / 2.0).floor());
            assert_eq!(s.reduce_max(a), x.iter().copied().fold(f32::MIN, f32::max));
            assert_eq!(s.reduce_min(a), x.iter().copied().fold(f32::MAX, f32::min));
            assert_eq!(s.reduce_add(a), x.iter().sum::<f32>());
            let nan = s.splat(f32::NAN);
            check("nan passes", s.select(s.eq(s.min(a, s.max(b, nan)), nan), nan, a), &|x, _| x);
            for part in 0..=n {
                let mut out = vec![9.0f32; n];
                s.store_n(out.as_mut_ptr(), part, s.load_n(x.as_ptr(), part));
                for i in 0..n {
                    assert_eq!(out[i], if i < part { x[i] } else { 9.0 });
                }
                s.store(out.as_mut_ptr(), s.load_n(x.as_ptr(), part));
                assert!(out[part..].iter().all(|&v| v == 0.0));
            }
        }
    }
}

#[test]
fn operations_match_scalar_code() {
    for isa in Isa::available() {
        isa.run(Operations);
    }
}
