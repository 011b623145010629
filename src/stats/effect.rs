//! The change from a baseline to a candidate, with the spread needed to judge it.
//!
//! Ratios are kept as natural logarithms, because a ratio and its inverse are then equally far from
//! "no change". They become ratios again in [`Effect::estimate`].

use super::student;
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
    /// The scale of `point` and of all intervals in `spread`.
    pub scale: Scale,
    /// The baseline's own value, in the metric's unit.
    pub baseline: f64,
    /// The observed change, on `scale`.
    pub point: f64,
    /// The uncertainty of the change; `None` with too little data.
    pub spread: Option<Spread>,
    /// The number of windows that it rests on, or of runs on the smaller side.
    pub n: usize,
}

/// The uncertainty of an effect, on the effect's scale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// Standard error, corrected for few blocks and for dependence.
    pub standard_error: f64,
    /// Degrees of freedom of Student's t for that standard error.
    pub degrees_of_freedom: f64,
    /// Percentile interval (Efron, 1979), stretched to the width of a t interval.
    pub percentile: Interval,
    /// Bias-corrected and accelerated interval (Efron, 1987), stretched in the same way.
    pub bca: Interval,
    /// Whether a side has a single run: the difference between runs is then unknown, and the true
    /// spread is wider.
    pub within_run_only: bool,
}

impl Spread {
    /// The spread, if all of its numbers are finite.
    pub(super) fn finite(self) -> Option<Spread> {
        let is_known = self.standard_error.is_finite()
            && self.degrees_of_freedom.is_finite()
            && self.percentile.finite().is_some()
            && self.bca.finite().is_some();
        is_known.then_some(self)
    }

    /// Student's t at probability `p`, 0 to 1, in standard errors; infinite if it cannot be told.
    pub(super) fn t(&self, p: f64) -> f64 {
        // An f64 cannot resolve 1 - p for a small tail, so the quantile is taken from the other side.
        let tail = p.min(1.0 - p);
        let t = student::quantile(tail, self.degrees_of_freedom).unwrap_or(f64::INFINITY);
        if p < 0.5 { -t } else { t }
    }
}

impl Effect {
    /// The effect as a ratio or a difference, with Student's interval at the level of the other
    /// intervals. Student's is used because its coverage in simulations is closest to nominal, and
    /// because verdicts use the same interval at another level.
    pub fn estimate(&self) -> Estimate {
        let level = self.spread.map_or(0.0, |spread| spread.percentile.level);
        let interval = self.student_interval((1.0 - level) / 2.0);
        let interval = interval.and_then(|interval| self.shown_interval(interval));
        Estimate { point: self.shown(self.point), interval, n: self.n }
    }

    /// A value on the effect's scale as a ratio or a difference.
    pub fn shown(&self, value: f64) -> f64 {
        match self.scale {
            Scale::LogRatio => value.exp(),
            Scale::Difference => value,
        }
    }

    /// An interval on the effect's scale as one of ratios or of differences; `None` if an end of it is
    /// a ratio that an f64 cannot hold.
    pub fn shown_interval(&self, interval: Interval) -> Option<Interval> {
        let Interval { low, high, level } = interval;
        Interval { low: self.shown(low), high: self.shown(high), level }.finite()
    }

    /// Point ± t · standard error, with a probability of `tail` beyond each end. It agrees with
    /// [`Effect::p_above`] and [`Effect::p_below`]. `None` without a spread, or if an end is not finite.
    pub fn student_interval(&self, tail: f64) -> Option<Interval> {
        let spread = self.spread?;
        let half_width = if spread.standard_error == 0.0 {
            0.0
        } else {
            spread.t(1.0 - tail) * spread.standard_error
        };
        let (low, high) = (self.point - half_width, self.point + half_width);
        Interval { low, high, level: 1.0 - 2.0 * tail }.finite()
    }

    /// The probability of a point this high if the true effect is `bound` or less (one-sided t test).
    /// If the standard error is 0, it is 0 above the bound and 1 otherwise; without a spread it is 1.
    pub fn p_above(&self, bound: f64) -> f64 {
        self.spread.map_or(1.0, |spread| upper_tail(self.point - bound, &spread))
    }

    /// The same for a point this low if the true effect is `bound` or more.
    pub fn p_below(&self, bound: f64) -> f64 {
        self.spread.map_or(1.0, |spread| upper_tail(bound - self.point, &spread))
    }
}

fn upper_tail(distance: f64, spread: &Spread) -> f64 {
    if spread.standard_error == 0.0 {
        return if distance > 0.0 { 0.0 } else { 1.0 };
    }
    student::upper_tail(distance / spread.standard_error, spread.degrees_of_freedom)
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
    fn a_change_without_any_spread_is_judged_by_its_value() {
        let same = effect(Scale::Difference, 0.0, 0.0, 5.0);
        assert_eq!((same.p_above(0.0), same.p_below(0.0)), (1.0, 1.0));
        assert_eq!((same.p_above(-0.1), same.p_below(0.1)), (0.0, 0.0));
        let unknown = Effect { spread: None, ..same };
        assert_eq!((unknown.p_above(-1.0), unknown.student_interval(0.1)), (1.0, None));
    }
}
