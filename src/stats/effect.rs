//! What separates a candidate from its baseline, with the spread needed to judge it.
//!
//! Ratios live as natural logarithms here, because a ratio and its inverse are then equally far
//! from "no change", and become ratios again only in [`Effect::estimate`].

use statrs::distribution::{ContinuousCDF, StudentsT};

use super::{Estimate, Interval};

/// The scale on which an effect is a plain number with 0 for "no change".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// ln(candidate ÷ baseline).
    LogRatio,
    /// Candidate less baseline, in the metric's unit.
    Difference,
}

/// A candidate's change against its baseline.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Effect {
    /// How `point` and all intervals of `spread` are to be read.
    pub scale: Scale,
    /// The baseline's own value, in the metric's unit.
    pub baseline: f64,
    /// The observed change, on `scale`.
    pub point: f64,
    /// How sure the change is; none with too little data to say.
    pub spread: Option<Spread>,
    /// Windows, or runs of the smaller set, that it rests on.
    pub n: usize,
}

/// The uncertainty of an effect, on the effect's scale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// Standard error, with all corrections for few blocks and for dependence.
    pub standard_error: f64,
    /// Degrees of freedom of Student's t that goes with it.
    pub degrees_of_freedom: f64,
    /// Percentile interval (Efron, 1979), stretched to the width of a t interval.
    pub percentile: Interval,
    /// Bias-corrected and accelerated interval (Efron, 1987), stretched likewise.
    pub bca: Interval,
    /// Only one run on some side: how runs differ is unknown, so that the true spread is wider.
    pub within_run_only: bool,
}

impl Spread {
    /// Student's t at probability `p`, 0 to 1, in standard errors.
    pub(super) fn t(&self, p: f64) -> f64 {
        // Beyond f64's resolution of 1 - p the tail is read from the other side.
        let tail = p.min(1.0 - p);
        let t = StudentsT::new(0.0, 1.0, self.degrees_of_freedom)
            .map_or(f64::INFINITY, |t| -t.inverse_cdf(tail));
        if p < 0.5 { -t } else { t }
    }
}

impl Effect {
    /// The effect as people read it: a ratio or a difference, with Student's interval at the level
    /// of the others. It is the default because simulated coverage is closest to what it says, and
    /// because verdicts use the same interval at another level.
    pub fn estimate(&self) -> Estimate {
        let level = self.spread.map_or(0.0, |spread| spread.percentile.level);
        let interval = self.student_interval((1.0 - level) / 2.0);
        let interval = interval.map(|interval| self.shown_interval(interval));
        Estimate { point: self.shown(self.point), interval, n: self.n }
    }

    /// A value of this effect's scale as a ratio or a difference.
    pub fn shown(&self, value: f64) -> f64 {
        match self.scale {
            Scale::LogRatio => value.exp(),
            Scale::Difference => value,
        }
    }

    /// An interval of this effect's scale as one of ratios or of differences.
    pub fn shown_interval(&self, interval: Interval) -> Interval {
        let Interval { low, high, level } = interval;
        Interval { low: self.shown(low), high: self.shown(high), level }
    }

    /// Point ± t · standard error, with `tail` left out at each end: the interval that
    /// [`Effect::p_above`] and [`Effect::p_below`] are the inverse of. None without a spread.
    pub fn student_interval(&self, tail: f64) -> Option<Interval> {
        let spread = self.spread?;
        let half_width = if spread.standard_error == 0.0 {
            0.0
        } else {
            spread.t(1.0 - tail) * spread.standard_error
        };
        let (low, high) = (self.point - half_width, self.point + half_width);
        Some(Interval { low, high, level: 1.0 - 2.0 * tail })
    }

    /// How likely a point this high would be if the true effect were `bound` or less (one-sided t
    /// test). Without any spread between blocks it is 0 above the bound and 1 elsewhere; 1 without
    /// an estimate of the spread.
    pub fn p_above(&self, bound: f64) -> f64 {
        self.spread.map_or(1.0, |spread| upper_tail(self.point - bound, &spread))
    }

    /// As [`Effect::p_above`], for a point this low and a true effect of `bound` or more.
    pub fn p_below(&self, bound: f64) -> f64 {
        self.spread.map_or(1.0, |spread| upper_tail(bound - self.point, &spread))
    }
}

fn upper_tail(distance: f64, spread: &Spread) -> f64 {
    if spread.standard_error == 0.0 {
        return if distance > 0.0 { 0.0 } else { 1.0 };
    }
    StudentsT::new(0.0, 1.0, spread.degrees_of_freedom)
        .map_or(1.0, |t| t.sf(distance / spread.standard_error))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An effect whose intervals of 95 % are the t interval's.
    pub fn effect(
        scale: Scale,
        point: f64,
        standard_error: f64,
        degrees_of_freedom: f64,
    ) -> Effect {
        let none = Interval { low: point, high: point, level: 0.95 };
        let spread = Spread {
            standard_error,
            degrees_of_freedom,
            percentile: none,
            bca: none,
            within_run_only: false,
        };
        let mut effect = Effect { scale, baseline: 2.0, point, spread: Some(spread), n: 10 };
        let interval = effect.student_interval(0.025).unwrap();
        effect.spread = Some(Spread { percentile: interval, bca: interval, ..spread });
        effect
    }

    #[test]
    fn tests_and_intervals_are_those_of_scipy() {
        // scipy 1.17.1: t.sf(2.5, 15), t.isf(0.0005, 15), t.sf(6.0, 8).
        let found = effect(Scale::Difference, 2.5, 1.0, 15.0);
        assert!((found.p_above(0.0) - 0.012_252_901_6).abs() < 1e-8);
        assert!((found.p_above(0.0) + found.p_below(0.0) - 1.0).abs() < 1e-12);
        let interval = found.student_interval(0.0005).unwrap();
        assert!((interval.high - 2.5 - 4.072_765_195_9).abs() < 1e-8, "{interval:?}");
        assert!((interval.level - 0.999).abs() < 1e-12);
        let far = effect(Scale::Difference, 6.0, 1.0, 8.0);
        assert!((far.p_above(0.0) / 0.000_161_696_61 - 1.0).abs() < 1e-5, "{}", far.p_above(0.0));
    }

    #[test]
    fn a_log_ratio_is_shown_as_a_ratio() {
        let shown = effect(Scale::LogRatio, 0.0, 0.1, 20.0).estimate();
        let interval = shown.interval.unwrap();
        assert_eq!(shown.point, 1.0);
        assert!((interval.low * interval.high - 1.0).abs() < 1e-12, "{interval:?}");
        assert_eq!(effect(Scale::Difference, 0.25, 0.1, 20.0).estimate().point, 0.25);
    }

    #[test]
    fn what_never_varies_is_judged_by_its_value() {
        let same = effect(Scale::Difference, 0.0, 0.0, 5.0);
        assert_eq!((same.p_above(0.0), same.p_below(0.0)), (1.0, 1.0));
        assert_eq!((same.p_above(-0.1), same.p_below(0.1)), (0.0, 0.0));
        let unknown = Effect { spread: None, ..same };
        assert_eq!((unknown.p_above(-1.0), unknown.student_interval(0.1)), (1.0, None));
    }
}
