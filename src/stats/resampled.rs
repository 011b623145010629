//! The distribution of a statistic under resampling, and the intervals that follow from it.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rayon::prelude::*;
use statrs::distribution::{ContinuousCDF, Normal};

use super::{Bootstrap, Interval, Sample, student};

/// Resamples that share one stream of random numbers. Like the seed, it affects the result.
const CHUNK: usize = 500;

/// The resampled values of a statistic, and its value on the data.
pub(super) struct Resampled {
    point: f64,
    values: Sample,
    acceleration: f64,
}

/// The values of `statistic` on all resamples, in parallel. Every chunk has its own random stream, so the
/// values do not depend on the number of threads.
pub(super) fn draw(
    bootstrap: &Bootstrap,
    statistic: impl Fn(&mut ChaCha8Rng) -> f64 + Sync,
) -> Vec<f64> {
    let chunk = |at: usize| {
        let mut random = ChaCha8Rng::seed_from_u64(bootstrap.seed);
        random.set_stream(at as u64);
        let count = CHUNK.min(bootstrap.resamples - at * CHUNK);
        (0..count).map(|_| statistic(&mut random)).collect::<Vec<f64>>()
    };
    let chunks = 0..bootstrap.resamples.div_ceil(CHUNK);
    chunks.into_par_iter().flat_map_iter(chunk).collect()
}

impl Resampled {
    /// `None` with fewer than two resamples, or one that is not finite.
    pub fn new(point: f64, values: Vec<f64>, acceleration: f64) -> Option<Resampled> {
        Some(Resampled { point, values: Sample::new(values).ok()?, acceleration })
    }

    /// The standard deviation of the resampled values.
    pub fn standard_error(&self) -> f64 {
        let sorted = self.values.sorted();
        // Rounding errors must not create a spread where all values are equal.
        if sorted.first() == sorted.last() { 0.0 } else { self.values.standard_deviation() }
    }

    /// The interval between two quantiles, with the distances from the point multiplied by `stretch`.
    pub fn percentile(&self, level: f64, stretch: f64) -> Interval {
        let tail = (1.0 - level) / 2.0;
        self.between(tail, 1.0 - tail, level, stretch)
    }

    /// The bias-corrected and accelerated interval, stretched in the same way: the quantiles at
    /// Φ(z0 + (z0 + z) ÷ (1 - a (z0 + z))), where z0 follows from the share of values below the point
    /// and a is the acceleration (Efron, 1987, "Better bootstrap confidence intervals").
    pub fn bca(&self, level: f64, stretch: f64) -> Interval {
        let sorted = self.values.sorted();
        let below = sorted.partition_point(|&value| value < self.point);
        let not_above = sorted.partition_point(|&value| value <= self.point);
        let count = sorted.len() as f64;
        let least = 0.5 / count;
        let share = ((below + not_above) as f64 / (2.0 * count)).clamp(least, 1.0 - least);
        let normal = Normal::standard();
        let bias = normal.inverse_cdf(share);
        let quantile = |p: f64| {
            let z = bias + normal.inverse_cdf(p);
            let shrink = 1.0 - self.acceleration * z;
            // Beyond its pole the formula changes sign; its limit is the outermost value.
            if shrink <= 0.0 { f64::from(u8::from(z > 0.0)) } else { normal.cdf(bias + z / shrink) }
        };
        let tail = (1.0 - level) / 2.0;
        self.between(quantile(tail), quantile(1.0 - tail), level, stretch)
    }

    fn between(&self, low: f64, high: f64, level: f64, stretch: f64) -> Interval {
        let end = |p: f64| self.point + stretch * (self.values.quantile(p) - self.point);
        Interval { low: end(low), high: end(high), level }
    }
}

/// The width of a t interval divided by that of a normal one; infinite if it cannot be told.
pub(super) fn t_stretch(level: f64, degrees_of_freedom: f64) -> f64 {
    let p = (1.0 + level) / 2.0;
    let t = student::quantile(1.0 - p, degrees_of_freedom);
    t.map_or(f64::INFINITY, |t| t / Normal::standard().inverse_cdf(p))
}

/// The acceleration of BCa intervals from the jackknife values of each sample (the statistic with one
/// unit left out): Σ U³/n³ ÷ 6 (Σ U²/n²)^(3/2), U = (n - 1)(mean - value) (Efron & Tibshirani, 1993,
/// chapter 14; several samples as in scipy). 0 if nothing varies, or if it cannot be told.
pub(super) fn acceleration(jackknife: &[&[f64]]) -> f64 {
    let (mut cubes, mut squares) = (0.0, 0.0);
    for values in jackknife {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        for value in *values {
            let influence = (n - 1.0) * (mean - value) / n;
            squares += influence.powi(2);
            cubes += influence.powi(3);
        }
    }
    let found = cubes / (6.0 * squares.powf(1.5));
    if squares > 0.0 && found.is_finite() { found } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::super::interval::below;
    use super::*;

    /// Forty skewed values, e^(i · 7 mod 40 ÷ 12).
    fn skewed() -> Vec<f64> {
        (0..40).map(|i| (f64::from(i * 7 % 40) / 12.0).exp()).collect()
    }

    fn mean(values: &[f64]) -> f64 {
        values.iter().sum::<f64>() / values.len() as f64
    }

    fn resampled(resamples: usize) -> Resampled {
        let data = skewed();
        let total: f64 = data.iter().sum();
        let left_out: Vec<f64> = data.iter().map(|value| (total - value) / 39.0).collect();
        let bootstrap = Bootstrap { resamples, ..Bootstrap::new(1, 40) };
        let values =
            draw(&bootstrap, |random| (0..40).map(|_| data[below(random, 40)]).sum::<f64>() / 40.0);
        Resampled::new(mean(&data), values, acceleration(&[&left_out])).unwrap()
    }

    #[test]
    fn intervals_of_skewed_values_are_those_of_scipy() {
        // tests/golden/make_stats.py, scipy 1.17.1, 1,000,000 resamples.
        let found = resampled(200_000);
        let near = |found: Interval, low: f64, high: f64| {
            let is_near = (found.low - low).abs() < 0.02 && (found.high - high).abs() < 0.02;
            assert!(is_near, "{found:?} is not {low} to {high}");
        };
        near(found.percentile(0.95, 1.0), 5.7335, 10.0006);
        near(found.bca(0.95, 1.0), 5.8869, 10.2179);
        assert!((found.standard_error() - 1.0917).abs() < 0.005);
        assert!(
            (found.acceleration - 0.028_428_165_817_341_72).abs() < 1e-12,
            "{}",
            found.acceleration
        );
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let values = || resampled(1_700).values;
        let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let many = rayon::ThreadPoolBuilder::new().num_threads(5).build().unwrap();
        let (alone, many) = (alone.install(values), many.install(values));
        assert_eq!(alone, many);
        assert_eq!(alone.sorted().len(), 1_700);
    }

    #[test]
    fn stretching_moves_the_ends_away_from_the_point() {
        let found = resampled(2_000);
        let (plain, twice) = (found.percentile(0.9, 1.0), found.percentile(0.9, 2.0));
        assert!((found.point - twice.low - 2.0 * (found.point - plain.low)).abs() < 1e-12);
        assert!((twice.high - found.point - 2.0 * (plain.high - found.point)).abs() < 1e-12);
        // t(0.975, 15) = 2.131450, z(0.975) = 1.959964.
        assert!((t_stretch(0.95, 15.0) - 1.087_494).abs() < 1e-5);
    }

    #[test]
    fn values_without_spread_have_none() {
        let same = Resampled::new(0.1, vec![0.1; 7], 0.0).unwrap();
        assert_eq!(same.standard_error(), 0.0);
        assert_eq!(same.bca(0.95, 1.0), same.percentile(0.95, 1.0));
        assert_eq!(acceleration(&[&[2.0, 2.0], &[1.0]]), 0.0);
        assert!(Resampled::new(0.1, vec![f64::NAN, 1.0], 0.0).is_none());
    }
}
