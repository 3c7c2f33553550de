//! The Mersenne Twister MT19937 (Matsumoto and Nishimura 1998), whose stream ONNX's reference of Dropout draws from.

const LEN: usize = 624;
const PERIOD: usize = 397;

/// A stream of numbers.
pub(crate) struct Mersenne {
    state: [u32; LEN],
    at: usize,
}

impl Mersenne {
    /// The stream of a seed, initialised as in the reference code of 2002.
    pub fn new(seed: u32) -> Mersenne {
        let mut state = [seed; LEN];
        for i in 1..LEN {
            let last = state[i - 1];
            state[i] = 1_812_433_253u32.wrapping_mul(last ^ (last >> 30)).wrapping_add(i as u32);
        }
        Mersenne { state, at: LEN }
    }

    fn next(&mut self) -> u32 {
        if self.at == LEN {
            for i in 0..LEN {
                let joined = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % LEN] & 0x7fff_ffff);
                let twist = if joined & 1 == 0 { 0 } else { 0x9908_b0df };
                self.state[i] = self.state[(i + PERIOD) % LEN] ^ (joined >> 1) ^ twist;
            }
            self.at = 0;
        }
        let mut y = self.state[self.at];
        self.at += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// Uniform in [0, 1) with 53 bits.
    pub fn uniform(&mut self) -> f64 {
        let (high, low) = (f64::from(self.next() >> 5), f64::from(self.next() >> 6));
        (high * 67_108_864.0 + low) / 9_007_199_254_740_992.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_stream() {
        let mut m = Mersenne::new(5489);
        assert_eq!([m.next(), m.next(), m.next()], [3_499_211_612, 581_869_302, 3_890_346_734]);
        assert!((Mersenne::new(0).uniform() - 0.548_813_503_927_324_8).abs() < 1e-15);
    }
}
