//! Counts how often each fp16 magnitude occurs.
//!
//! The values that are rounded to int8 are fp16, which has 31,744 finite magnitudes. Counting each of
//! them is exact, takes one pass, and does not depend on the order of values.

use half::f16;
use half::slice::HalfFloatSliceExt;

/// Number of magnitudes, including infinity and NaN.
const MAGNITUDES: usize = 1 << 15;
/// The first magnitude that is not finite.
const INFINITY: usize = 0x7c00;

/// Counts of fp16 magnitudes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    counts: Vec<u64>,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { counts: vec![0; MAGNITUDES] }
    }
}

impl Histogram {
    /// Counts `values`, each rounded to fp16.
    pub fn of(values: &[f32]) -> Self {
        let mut histogram = Histogram::default();
        let mut halves = [f16::ZERO; 1024];
        for chunk in values.chunks(halves.len()) {
            let halves = &mut halves[..chunk.len()];
            halves.convert_from_f32_slice(chunk);
            for half in halves.iter() {
                histogram.counts[usize::from(half.to_bits()) & (MAGNITUDES - 1)] += 1;
            }
        }
        histogram
    }

    /// Adds the counts of `other`.
    pub fn add(&mut self, other: &Histogram) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(own, other)| *own += other);
    }

    /// The number of values counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The number of values that are infinite, too large for fp16, or NaN.
    pub fn not_finite(&self) -> u64 {
        self.counts[INFINITY..].iter().sum()
    }

    /// The largest finite magnitude that occurred; 0 if none did.
    pub fn largest(&self) -> f32 {
        magnitude(self.counts[..INFINITY].iter().rposition(|count| *count > 0).unwrap_or(0))
    }

    /// The smallest magnitude that at most one in `one_in` values exceeds; `one_in` is at least 1.
    pub fn all_but(&self, one_in: u64) -> f32 {
        let target = self.total() - self.total() / one_in.max(1);
        let mut seen = 0;
        let reached = self.counts[..INFINITY].iter().position(|count| {
            seen += count;
            seen >= target
        });
        reached.map_or(self.largest(), magnitude)
    }

    /// Counts in `bins` intervals of equal width from 0 to the largest magnitude. Each interval includes
    /// its lower end, and the last one also its upper end.
    pub fn linear(&self, bins: usize) -> Vec<u64> {
        let largest = self.largest();
        let mut linear = vec![0; bins];
        for (index, count) in self.counts[..INFINITY].iter().enumerate().filter(|(_, c)| **c > 0) {
            let share = f64::from(magnitude(index)) / f64::from(largest.max(f32::MIN_POSITIVE));
            linear[((share * bins as f64) as usize).min(bins - 1)] += count;
        }
        linear
    }
}

fn magnitude(index: usize) -> f32 {
    f16::from_bits(u16::try_from(index).unwrap_or(u16::MAX)).to_f32()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_and_order_do_not_matter_and_what_is_no_number_is_counted_apart() {
        let mut histogram = Histogram::of(&[1.0, -3.0, 0.0]);
        histogram.add(&Histogram::of(&[f32::NAN, 1e9, 2.0]));
        assert_eq!(histogram, Histogram::of(&[2.0, f32::INFINITY, 0.0, -1.0, f32::NAN, 3.0]));
        assert_eq!((histogram.total(), histogram.not_finite()), (6, 2));
        assert_eq!(histogram.largest(), 3.0);
        assert_eq!(Histogram::default().largest(), 0.0);
    }

    #[test]
    fn a_percentile_is_a_value_that_occurred() {
        let values: Vec<f32> = (1..=1000).map(|value| value as f32).collect();
        let histogram = Histogram::of(&values);
        assert_eq!(histogram.all_but(2), 500.0);
        assert_eq!(histogram.all_but(1000), 999.0);
        assert_eq!(histogram.all_but(1001), histogram.largest());
    }

    #[test]
    fn linear_bins_reach_from_zero_to_the_largest() {
        assert_eq!(Histogram::of(&[0.0, 0.9, 1.0, -2.5, 4.0]).linear(4), [2, 1, 1, 1]);
        assert_eq!(Histogram::default().linear(2), [0, 0]);
    }
}
