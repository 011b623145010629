//! Intervals by resampling windows, in blocks of neighbours, with a seed.
//!
//! The circular block bootstrap (Politis & Romano, 1992) draws blocks of consecutive windows with
//! replacement; blocks wrap from the last window to the first, so that every window is equally likely.
//! With few windows, plain percentile intervals are too narrow. Therefore wider percentiles are taken,
//! which give the interval the width of a t interval (the expanded percentile interval of Hesterberg,
//! 2015, "What teachers should know about the bootstrap", section 5).

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use statrs::distribution::{ContinuousCDF, Normal};

use super::{Interval, Sample, student};

/// How an interval is made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bootstrap {
    /// Seed of the resampling.
    pub seed: u64,
    /// Number of resamples.
    pub resamples: usize,
    /// The level of the interval.
    pub level: f64,
    /// Windows in a block; 1 if neighbours are independent.
    pub block_length: usize,
}

impl Bootstrap {
    /// 10,000 resamples, a level of 95 %, and blocks of [`block_length_for`] `windows`.
    pub fn new(seed: u64, windows: usize) -> Bootstrap {
        let block_length = block_length_for(windows);
        Bootstrap { seed, resamples: 10_000, level: 0.95, block_length }
    }

    /// The interval of `statistic`, a function of the sums of columns; `rows` has a row per window.
    /// `None` if there are fewer than two blocks, the level is not between 0 and 1, or the statistic of
    /// a resample is not finite or beyond [`LARGEST`](super::LARGEST).
    pub fn interval<const C: usize>(
        &self,
        rows: &[[f64; C]],
        statistic: impl Fn(&[f64; C]) -> f64,
    ) -> Option<Interval> {
        let [interval] = self.intervals(rows, |sums| [statistic(sums)]);
        interval
    }

    /// The intervals of several statistics of the same columns, from the same resamples.
    pub fn intervals<const C: usize, const S: usize>(
        &self,
        rows: &[[f64; C]],
        statistics: impl Fn(&[f64; C]) -> [f64; S],
    ) -> [Option<Interval>; S] {
        let block_length = self.block_length.max(1);
        let blocks = rows.len() / block_length;
        if blocks < 2 || self.resamples < 2 || !is_level(self.level) {
            return [None; S];
        }
        let mut resampled: [Vec<f64>; S] =
            std::array::from_fn(|_| Vec::with_capacity(self.resamples));
        let whole = block_sums(rows, block_length);
        let rest = block_sums(rows, rows.len() % block_length);
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        for _ in 0..self.resamples {
            let mut sums = [0.0; C];
            let mut add = |drawn: &[[f64; C]]| {
                let block = &drawn[below(&mut random, drawn.len())];
                sums.iter_mut().zip(block).for_each(|(sum, value)| *sum += value);
            };
            (0..blocks).for_each(|_| add(&whole));
            if rows.len() > blocks * block_length {
                add(&rest);
            }
            for (values, value) in resampled.iter_mut().zip(statistics(&sums)) {
                values.push(value);
            }
        }
        let tail = expanded_tail(self.level, blocks);
        resampled.map(|values| {
            let sample = Sample::new(values).ok()?;
            let (low, high) = (sample.quantile(tail), sample.quantile(1.0 - tail));
            Interval { low, high, level: self.level }.finite()
        })
    }
}

/// For each row, the column sums of the block of `length` rows that begins there; blocks wrap around.
pub(super) fn block_sums<const C: usize>(rows: &[[f64; C]], length: usize) -> Vec<[f64; C]> {
    let sum = |at: usize| {
        let mut sums = [0.0; C];
        for row in rows.iter().cycle().skip(at).take(length) {
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
        sums
    };
    (0..rows.len()).map(sum).collect()
}

/// A number below `bound` from one 64-bit draw, by multiplication; the bias of bound / 2^64 is far too
/// small to matter. Written out because a library may change its method with a version.
pub(super) fn below(random: &mut ChaCha8Rng, bound: usize) -> usize {
    ((u128::from(random.next_u64()) * bound as u128) >> 64) as usize
}

/// Whether an interval can have this level.
pub(super) fn is_level(level: f64) -> bool {
    level > 0.0 && level < 1.0
}

/// The share of resamples beyond each end, chosen so that `n` independent blocks give the coverage of a t
/// interval.
fn expanded_tail(level: f64, n: usize) -> f64 {
    let tail = (1.0 - level) / 2.0;
    let Some(t) = student::quantile(tail, (n - 1) as f64) else { return tail };
    let scale = (n as f64 / (n - 1) as f64).sqrt();
    Normal::standard().cdf(scale * -t)
}

/// The number of windows in a block: the cube root of their number, rounded down. Longer blocks preserve
/// more dependence, shorter ones are more numerous; this balances the two (Hall, Horowitz & Jing, 1995).
pub fn block_length_for(windows: usize) -> usize {
    let root = (windows as f64).cbrt() as usize;
    // The root is rounded, so that the length may be one more or one less.
    let is_below = |length: &usize| length.checked_pow(3).is_some_and(|cube| cube <= windows);
    (root.saturating_sub(1)..=root + 1).rev().find(is_below).unwrap_or(1).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers from a normal distribution, by inversion.
    fn normal(random: &mut ChaCha8Rng) -> f64 {
        let uniform = (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        Normal::new(0.0, 1.0).unwrap().inverse_cdf(uniform.clamp(1e-12, 1.0 - 1e-12))
    }

    /// How many of `runs` intervals of the mean contain the true mean, 0, if each value keeps a share
    /// `memory` of the previous one.
    fn covered(runs: u64, n: usize, memory: f64, block_length: usize) -> usize {
        let run = |seed: u64| {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let mut value = normal(&mut random) / (1.0 - memory * memory).sqrt();
            let mut next = || {
                value = memory * value + normal(&mut random);
                [value, 1.0]
            };
            let rows: Vec<[f64; 2]> = (0..n).map(|_| next()).collect();
            let bootstrap = Bootstrap { seed, resamples: 500, level: 0.95, block_length };
            let interval = bootstrap.interval(&rows, |[sum, count]| sum / count).unwrap();
            interval.low <= 0.0 && 0.0 <= interval.high
        };
        (0..runs).filter(|&seed| run(seed)).count()
    }

    #[test]
    fn intervals_of_95_percent_contain_the_truth_about_95_times_in_100() {
        for n in [6, 12, 40] {
            let covered = covered(1_000, n, 0.0, 1);
            assert!((925..=975).contains(&covered), "{covered} of 1000 at n = {n}");
        }
    }

    #[test]
    fn blocks_keep_coverage_when_neighbours_resemble_each_other() {
        let (single, blocks) = (covered(1_000, 100, 0.5, 1), covered(1_000, 100, 0.5, 8));
        assert!(single < 800, "{single} of 1000");
        assert!(blocks > 890, "{blocks} of 1000");
    }

    #[test]
    fn the_same_seed_gives_the_same_interval_and_another_seed_does_not() {
        let rows: Vec<[f64; 1]> = (0..30).map(|i| [f64::from(i * i % 17)]).collect();
        let interval = |seed| Bootstrap::new(seed, 30).interval(&rows, |[sum]| sum / 30.0).unwrap();
        assert_eq!(interval(1), interval(1));
        assert_ne!(interval(1), interval(2));
    }

    #[test]
    fn the_random_stream_never_changes() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let drawn: Vec<usize> = (0..8).map(|_| below(&mut random, 100)).collect();
        assert_eq!(drawn, [40, 8, 59, 21, 28, 71, 46, 15]);
    }

    #[test]
    fn one_window_has_no_interval() {
        let bootstrap = Bootstrap::new(1, 1);
        assert_eq!(bootstrap.interval(&[[1.0]], |[sum]| *sum), None);
        assert_eq!(bootstrap.interval(&[] as &[[f64; 1]], |[sum]| *sum), None);
        let one_block = Bootstrap { block_length: 2, ..bootstrap };
        assert_eq!(one_block.interval(&[[1.0], [2.0], [3.0]], |[sum]| *sum), None);
    }

    #[test]
    fn the_bootstrap_agrees_with_the_t_interval_on_normal_values() {
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let values: Vec<f64> = (0..50).map(|_| 10.0 + normal(&mut random)).collect();
        let rows: Vec<[f64; 1]> = values.iter().map(|&value| [value]).collect();
        let bootstrap = Bootstrap { block_length: 1, ..Bootstrap::new(1, 50) };
        let ours = bootstrap.interval(&rows, |[sum]| sum / 50.0).unwrap();
        // scipy 1.17.1: t.ppf(0.975, 49) = 2.009575.
        let sample = Sample::new(values).unwrap();
        let half_width = 2.009_575 * sample.standard_deviation() / 50.0_f64.sqrt();
        let (low, high) = (sample.mean() - half_width, sample.mean() + half_width);
        assert!((ours.low - low).abs() < 0.2 * half_width, "{ours:?} {low}");
        assert!((ours.high - high).abs() < 0.2 * half_width, "{ours:?} {high}");
    }

    #[test]
    fn blocks_grow_with_the_cube_root_of_the_windows() {
        let lengths = [0, 1, 7, 8, 64, 124, 125, 1_000].map(block_length_for);
        assert_eq!(lengths, [1, 1, 1, 2, 4, 4, 5, 10]);
    }
}
