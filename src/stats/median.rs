//! Medians of few, skewed values, such as times.

use statrs::distribution::{Binomial, DiscreteCDF};

use super::{Estimate, Interval, Sample};

/// The median, with an interval between two order statistics equally far from either end: the narrowest
/// that contains the true median with a probability of at least `level`. It assumes no shape of the
/// distribution (David and Nagaraja 2003, section 7.1). At 0.95 there is no interval with fewer than 6
/// values. `None` without values, or if one is not finite.
pub fn median(values: &[f64], level: f64) -> Option<Estimate> {
    let n = values.len();
    if let &[point] = values {
        return point.is_finite().then_some(Estimate { point, interval: None, n });
    }
    let sample = Sample::new(values.to_vec()).ok()?;
    let below = Binomial::new(0.5, n as u64).ok()?;
    // With k values left out at either end, the median is outside if at most k values are on one side.
    let coverage = |k: usize| 1.0 - 2.0 * below.cdf(k as u64);
    let cut = (0..n / 2).rev().find(|k| coverage(*k) >= level);
    let interval = cut.map(|k| {
        let sorted = sample.sorted();
        Interval { low: sorted[k], high: sorted[n - 1 - k], level: coverage(k) }
    });
    Some(Estimate { point: sample.median(), interval, n })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(n: usize) -> Vec<f64> {
        (1..=n).map(|i| i as f64).collect()
    }

    #[test]
    fn intervals_are_those_of_published_tables() {
        // Ranks and coverages of 95 % intervals: Conover, Practical Nonparametric Statistics, 3rd
        // edition, section 3.2, and R's `qbinom(0.025, n, 0.5)`.
        for (n, low, high, level) in [
            (6, 1.0, 6.0, 0.96875),
            (10, 2.0, 9.0, 0.9785),
            (15, 4.0, 12.0, 0.9648),
            (20, 6.0, 15.0, 0.9586),
        ] {
            let interval = median(&counted(n), 0.95).unwrap().interval.unwrap();
            assert_eq!((interval.low, interval.high), (low, high), "{n}");
            assert!((interval.level - level).abs() < 1e-4, "{n}: {}", interval.level);
        }
    }

    #[test]
    fn few_values_have_a_median_and_no_interval() {
        assert_eq!(median(&counted(5), 0.95).unwrap().interval, None);
        let one = Estimate { point: 3.5, interval: None, n: 1 };
        assert_eq!(median(&[3.5], 0.95), Some(one));
        assert_eq!(median(&[], 0.95), None);
        assert_eq!(median(&[1.0, f64::NAN], 0.95), None);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0], 0.95).unwrap().point, 2.5);
    }
}
