//! Repeated timings: how two sets of runs compare.
//!
//! Repetitions within a run share its process, its memory layout and the state of the machine, so the
//! spread within a run says little about the next run (Kalibera & Jones, 2013, "Rigorous benchmarking
//! in reasonable time"). Runs are resampled first, then the repetitions within each.

use rand_chacha::ChaCha8Rng;

use super::interval::below;
use super::paired::LARGEST_LOG;
use super::resampled::{Resampled, acceleration, draw, t_stretch};
use super::{BadSample, Bootstrap, Effect, Scale, Spread};

/// The candidate's median over the baseline's, as a logarithm. Medians are over all repetitions of all
/// runs; the spread comes from resampling runs and then repetitions. Resamples of a few runs have only
/// (runs - 1) ÷ runs of the variance between runs, so each side is widened accordingly; degrees of
/// freedom follow Welch (1947).
///
/// With a single run on one side, the difference between runs is unknown: the spread is then that within
/// runs, and [`Spread::within_run_only`] is set. With a single repetition too, there is no spread.
///
/// # Errors
/// A side has no value, or a value is not finite or not above zero; its position counts through all
/// runs of its side. The medians are too far apart for their ratio to be told.
pub fn ratio_of_medians(
    candidate: &[Vec<f64>],
    baseline: &[Vec<f64>],
    bootstrap: &Bootstrap,
) -> Result<Effect, BadSample> {
    let (candidate, baseline) = (Side::new(candidate)?, Side::new(baseline)?);
    let n = candidate.runs.len().min(baseline.runs.len());
    let point = candidate.median.ln() - baseline.median.ln();
    if point.abs() > LARGEST_LOG {
        return Err(BadSample::TooFarApart);
    }
    let baseline_median = baseline.median;
    let spread = spread(&candidate, &baseline, point, bootstrap);
    Ok(Effect { scale: Scale::LogRatio, baseline: baseline_median, point, spread, n })
}

fn spread(candidate: &Side, baseline: &Side, point: f64, bootstrap: &Bootstrap) -> Option<Spread> {
    let sides = [candidate, baseline];
    if sides.iter().any(|side| side.sorted.len() < 2) {
        return None;
    }
    let within_run_only = sides.iter().any(|side| side.runs.len() < 2);
    // Welch's formula takes the variance of each side; the intervals come from the differences.
    let seeds = [bootstrap.seed, bootstrap.seed ^ 1];
    let [of_candidate, of_baseline] = [0, 1].map(|at| {
        let (side, bootstrap) = (sides[at], Bootstrap { seed: seeds[at], ..*bootstrap });
        let widen = side.widen();
        let middle = side.median.ln();
        let values =
            draw(&bootstrap, |random| middle + widen * (side.resample(random).ln() - middle));
        (middle, values)
    });
    let variance = |(middle, values): &(f64, Vec<f64>)| {
        Some(Resampled::new(*middle, values.clone(), 0.0)?.standard_error().powi(2))
    };
    let variances = [variance(&of_candidate)?, variance(&of_baseline)?];
    let freedom = sides.map(|side| side.units() - 1.0);
    let total: f64 = variances.iter().sum();
    let welch: f64 = variances.iter().zip(freedom).map(|(v, f)| v * v / f).sum();
    let degrees_of_freedom =
        if welch > 0.0 { total * total / welch } else { freedom[0].min(freedom[1]) };
    let values = of_candidate.1.iter().zip(&of_baseline.1).map(|(c, b)| c - b).collect();
    let left_out = sides.map(Side::left_out);
    let accelerations = [&left_out[0][..], &left_out[1].iter().map(|v| -v).collect::<Vec<f64>>()];
    let resampled = Resampled::new(point, values, acceleration(&accelerations))?;
    let stretch = t_stretch(bootstrap.level, degrees_of_freedom);
    let spread = Spread {
        standard_error: total.sqrt(),
        degrees_of_freedom,
        percentile: resampled.percentile(bootstrap.level, stretch),
        bca: resampled.bca(bootstrap.level, stretch),
        within_run_only,
    };
    spread.finite()
}

/// One side's runs; each repetition is stored as its rank among all repetitions of the side.
struct Side {
    sorted: Vec<f64>,
    runs: Vec<Vec<usize>>,
    median: f64,
}

impl Side {
    fn new(runs: &[Vec<f64>]) -> Result<Side, BadSample> {
        let all: Vec<f64> = runs.iter().flatten().copied().collect();
        if all.is_empty() {
            return Err(BadSample::TooFew { n: 0 });
        }
        if let Some(index) = all.iter().position(|value| !value.is_finite()) {
            return Err(BadSample::NotFinite { index });
        }
        if let Some(index) = all.iter().position(|&value| value <= 0.0) {
            return Err(BadSample::NotPositive { index });
        }
        let mut order: Vec<usize> = (0..all.len()).collect();
        order.sort_by(|&a, &b| all[a].total_cmp(&all[b]));
        let mut ranks = vec![0; all.len()];
        for (rank, &at) in order.iter().enumerate() {
            ranks[at] = rank;
        }
        let mut rest = &ranks[..];
        let mut by_run = Vec::new();
        for run in runs.iter().filter(|run| !run.is_empty()) {
            let (own, others) = rest.split_at(run.len());
            by_run.push(own.to_vec());
            rest = others;
        }
        let mut side =
            Side { sorted: order.iter().map(|&at| all[at]).collect(), runs: by_run, median: 0.0 };
        side.median = side.middle(&vec![1; all.len()]);
        Ok(side)
    }

    /// The number of independent units: runs, or the repetitions of a single run.
    fn units(&self) -> f64 {
        if self.runs.len() > 1 { self.runs.len() as f64 } else { self.sorted.len() as f64 }
    }

    fn widen(&self) -> f64 {
        (self.units() / (self.units() - 1.0)).sqrt()
    }

    /// The median of a resample, given how often each rank occurs in it.
    fn middle(&self, counts: &[u32]) -> f64 {
        let total: u32 = counts.iter().sum();
        let (low, high) = ((total - 1) / 2, total / 2);
        let (mut seen, mut first) = (0, None);
        for (rank, count) in counts.iter().enumerate() {
            seen += count;
            if seen > low && first.is_none() {
                first = Some(self.sorted[rank]);
            }
            if seen > high {
                return f64::midpoint(first.unwrap_or(self.sorted[rank]), self.sorted[rank]);
            }
        }
        f64::NAN
    }

    fn resample(&self, random: &mut ChaCha8Rng) -> f64 {
        let mut counts = vec![0_u32; self.sorted.len()];
        for _ in 0..self.runs.len() {
            let run = &self.runs[below(random, self.runs.len())];
            for _ in 0..run.len() {
                counts[run[below(random, run.len())]] += 1;
            }
        }
        self.middle(&counts)
    }

    /// The logarithm of the median without each run, or without each repetition of a single run.
    fn left_out(&self) -> Vec<f64> {
        let without = |ranks: &[usize]| {
            let mut counts = vec![1; self.sorted.len()];
            for &rank in ranks {
                counts[rank] = 0;
            }
            self.middle(&counts).ln()
        };
        match &self.runs[..] {
            [only] => only.iter().map(|&rank| without(&[rank])).collect(),
            runs => runs.iter().map(|ranks| without(ranks)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Sample;
    use super::*;

    const SEED: Bootstrap = Bootstrap { seed: 1, resamples: 2_000, level: 0.95, block_length: 1 };

    /// `runs` runs of `repetitions` each; every run has its own level.
    fn runs(runs: usize, repetitions: usize, scale: f64) -> Vec<Vec<f64>> {
        let value = |run: usize, at: usize| {
            scale * (10.0 + (run * 7 % 5) as f64 / 4.0 + (at * 11 % 13) as f64 / 40.0)
        };
        (0..runs).map(|run| (0..repetitions).map(|at| value(run, at)).collect()).collect()
    }

    #[test]
    fn medians_are_over_all_repetitions_and_their_ratio_has_no_unit() {
        let effect = ratio_of_medians(&runs(5, 9, 2.0), &runs(5, 9, 1.0), &SEED).unwrap();
        assert!((effect.estimate().point - 2.0).abs() < 1e-12);
        let all: Vec<f64> = runs(5, 9, 1.0).concat();
        assert_eq!(effect.baseline, Sample::new(all).unwrap().median());
        let interval = effect.estimate().interval.unwrap();
        assert!(
            interval.low < 2.0 && 2.0 < interval.high && !effect.spread.unwrap().within_run_only
        );
    }

    #[test]
    fn more_repetitions_do_not_make_up_for_few_runs() {
        let error = |count, repetitions| {
            let (candidate, baseline) =
                (runs(count, repetitions, 1.0), runs(count, repetitions, 1.0));
            ratio_of_medians(&candidate, &baseline, &SEED).unwrap().spread.unwrap()
        };
        let (few, many) = (error(5, 13), error(5, 130));
        assert!(many.standard_error > 0.8 * few.standard_error, "{few:?} {many:?}");
        assert!(error(20, 13).standard_error < 0.7 * few.standard_error);
        assert!(few.degrees_of_freedom >= 4.0 && few.degrees_of_freedom <= 8.0, "{few:?}");
    }

    #[test]
    fn a_single_run_is_marked_as_within_run_only() {
        let alone = ratio_of_medians(&runs(1, 30, 1.0), &runs(5, 30, 1.0), &SEED).unwrap();
        assert!(alone.spread.unwrap().within_run_only);
        let once = ratio_of_medians(&[vec![10.0]], &runs(5, 30, 1.0), &SEED).unwrap();
        assert_eq!((once.spread, once.n), (None, 1));
    }

    #[test]
    fn timings_without_spread_have_none_and_impossible_ones_are_refused() {
        let same = vec![vec![4.0; 3]; 3];
        let spread = ratio_of_medians(&same, &same, &SEED).unwrap().spread.unwrap();
        assert_eq!((spread.standard_error, spread.percentile.low), (0.0, 0.0));
        let refused = |runs: &[Vec<f64>]| ratio_of_medians(runs, &same, &SEED).unwrap_err();
        assert_eq!(refused(&[vec![1.0], vec![0.0]]), BadSample::NotPositive { index: 1 });
        assert_eq!(refused(&[vec![1.0, f64::NAN]]), BadSample::NotFinite { index: 1 });
        assert_eq!(refused(&[vec![]]), BadSample::TooFew { n: 0 });
        assert_eq!(refused(&[vec![-1.0]]).to_string(), "value 0 is not above zero");
    }
}
