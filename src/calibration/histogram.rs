//! What a calibration remembers of a value: extremes, and how often numbers of each size were seen.
//!
//! Guarantees: the memory is fixed, however much is seen; the result depends on the numbers, not on their order.

/// Bins on either side of 0.
const BINS: usize = 2048;

/// Counts of numbers by size. The range is a power of two and doubles when a number lies beyond it.
#[derive(Clone)]
struct Bins {
    /// All numbers lie within this of 0.
    limit: f32,
    /// From 0 down.
    below: Vec<u64>,
    /// From 0 up.
    above: Vec<u64>,
}

impl Bins {
    fn cover(&mut self, size: f32) {
        if self.limit == 0.0 {
            // A power of two, so that two bins make one exactly. All zeros leave it open.
            self.limit = f32::from_bits(size.to_bits() & 0xff80_0000);
        }
        while self.limit > 0.0 && self.limit < size {
            for half in [&mut self.below, &mut self.above] {
                let merged: Vec<u64> = half.chunks_exact(2).map(|p| p[0] + p[1]).collect();
                half.fill(0);
                half[..merged.len()].copy_from_slice(&merged);
            }
            self.limit *= 2.0;
        }
    }

    fn add(&mut self, v: f32) {
        // Before anything but 0 was seen there are no sizes.
        let at = if self.limit == 0.0 { 0 } else { ((v.abs() / self.limit * BINS as f32) as usize).min(BINS - 1) };
        let half = if v < 0.0 { &mut self.below } else { &mut self.above };
        half[at] += 1;
    }
}

/// What was seen of a value.
#[derive(Clone)]
pub struct Seen {
    /// The least number, and the greatest.
    pub range: Option<(f32, f32)>,
    count: u64,
    bins: Option<Bins>,
}

impl Seen {
    /// Nothing yet. `sizes`: whether counts by size are wanted, for [`Seen::within`].
    pub fn nothing(sizes: bool) -> Seen {
        let bins = sizes.then(|| Bins { limit: 0.0, below: vec![0; BINS], above: vec![0; BINS] });
        Seen { range: None, count: 0, bins }
    }

    /// Adds numbers; what is not finite is left out.
    pub fn add(&mut self, numbers: &[f32]) {
        let finite = || numbers.iter().copied().filter(|v| v.is_finite());
        let (low, high) = finite().fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
        if low > high {
            return;
        }
        self.range = Some(self.range.map_or((low, high), |(a, b)| (a.min(low), b.max(high))));
        if let Some(bins) = &mut self.bins {
            bins.cover(low.abs().max(high.abs()));
            finite().for_each(|v| bins.add(v));
            self.count += finite().count() as u64;
        }
    }

    /// A range that at most `share` of the numbers lie outside of, half of them on either side; contains 0.
    pub fn within(&self, share: f64) -> Option<(f32, f32)> {
        let ((low, high), bins) = (self.range?, self.bins.as_ref()?);
        let spare = (self.count as f64 * share / 2.0) as u64;
        // From the far end inwards, leaving out bins while their numbers may be.
        let edge = |half: &[u64]| {
            let mut left = spare;
            let kept = half.iter().rposition(|n| {
                let out = *n <= left;
                left = left.saturating_sub(if out { *n } else { 0 });
                !out
            });
            kept.map_or(0.0, |i| bins.limit * ((i + 1) as f32 / BINS as f32))
        };
        let (down, up) = (edge(&bins.below), edge(&bins.above));
        Some(((-down).max(low.min(0.0)), up.min(high.max(0.0))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_grow() {
        let mut seen = Seen::nothing(true);
        seen.add(&[0.1, -0.2, f32::NAN, f32::INFINITY]);
        seen.add(&[]);
        seen.add(&[100.0]);
        assert_eq!(seen.range, Some((-0.2, 100.0)));
        assert_eq!(seen.within(0.0), Some((-0.2, 100.0)));
        assert_eq!(Seen::nothing(true).within(0.0), None);
    }

    #[test]
    fn outliers_are_left_out() {
        let mut seen = Seen::nothing(true);
        let numbers: Vec<f32> = (0..10_000).map(|i| i as f32 / 10_000.0).collect();
        seen.add(&numbers);
        seen.add(&[50.0, 60.0]);
        let (low, high) = seen.within(0.001).unwrap();
        assert_eq!(low, 0.0);
        assert!((0.99..1.07).contains(&high), "{high}");
        assert_eq!(seen.within(0.0), Some((0.0, 60.0)));
    }

    #[test]
    fn the_order_does_not_matter() {
        let numbers: Vec<f32> = (1..2000).map(|i| (i as f32).sin() * i as f32).collect();
        let (mut one, mut two) = (Seen::nothing(true), Seen::nothing(true));
        numbers.chunks(7).for_each(|c| one.add(c));
        numbers.rchunks(13).for_each(|c| two.add(c));
        assert_eq!(one.within(0.02), two.within(0.02));
    }
}
