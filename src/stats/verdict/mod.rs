//! From effects to verdicts, for all cases of a check together.
//!
//! Holm's method keeps three families of one-sided tests at the same family-wise level: every case
//! *regressed* beyond its tolerance, every case *improved* beyond it, every case *unchanged* (two
//! one-sided tests: Schuirmann, 1987). A verdict other than *inconclusive* says that the interval at
//! the case's level is wholly beyond the tolerance, or wholly within it.

use std::fmt;

use super::holm::{HolmStep, steps};
use super::{Effect, Interval, POWER, Scale, detectable_change};

/// The default family-wise level. It is half of the 1 % of false alarms that a check may raise if nothing
/// changed, because a few dozen windows that resemble their neighbours have heavier tails than Student's
/// t distribution.
pub const FAMILY_ALPHA: f64 = 0.005;

/// In which direction a metric is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// Perplexity, sizes, times.
    Lower,
    /// Agreement, tokens per second.
    Higher,
}

/// The size of a change that does not matter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// A share of the baseline, such as 0.005. Ratios from 1 ÷ (1 + share) to 1 + share are within it,
    /// so that exchanging the two sides exchanges the verdicts.
    Relative(f64),
    /// An amount in the metric's unit.
    Absolute(f64),
}

/// A valid limit, and the direction in which the metric is better.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    limit: Limit,
    better: Better,
}

/// Why a limit is not a valid [`Tolerance`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum BadTolerance {
    /// It is infinite or not a number.
    NotFinite,
    /// It is below zero.
    Negative {
        /// The limit.
        value: f64,
    },
}

impl fmt::Display for BadTolerance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadTolerance::NotFinite => write!(f, "expected a finite tolerance"),
            BadTolerance::Negative { value } => {
                write!(f, "expected a tolerance of 0 or more, found {value}")
            }
        }
    }
}

impl std::error::Error for BadTolerance {}

impl Tolerance {
    /// A tolerance from a limit of 0 or more.
    ///
    /// # Errors
    /// The limit is negative or not finite.
    pub fn new(limit: Limit, better: Better) -> Result<Tolerance, BadTolerance> {
        let (Limit::Relative(value) | Limit::Absolute(value)) = limit;
        if !value.is_finite() {
            return Err(BadTolerance::NotFinite);
        }
        if value < 0.0 {
            return Err(BadTolerance::Negative { value });
        }
        Ok(Tolerance { limit, better })
    }

    /// The largest change, on `scale`, that is within the tolerance of `baseline`; not finite if it
    /// cannot be told, such as an amount of a baseline of 0 on the scale of ratios.
    pub fn bound(&self, scale: Scale, baseline: f64) -> f64 {
        match (scale, self.limit) {
            (Scale::LogRatio, Limit::Relative(share)) => share.ln_1p(),
            (Scale::LogRatio, Limit::Absolute(amount)) => (amount / baseline.abs()).ln_1p(),
            (Scale::Difference, Limit::Relative(share)) => share * baseline.abs(),
            (Scale::Difference, Limit::Absolute(amount)) => amount,
        }
    }

    /// +1 if higher is worse, otherwise -1.
    fn worse(&self) -> f64 {
        match self.better {
            Better::Lower => 1.0,
            Better::Higher => -1.0,
        }
    }
}

/// What is known about one metric of one variant.
#[derive(Debug, Clone, PartialEq)]
pub enum Evidence {
    /// A change with its spread.
    Estimated(Effect),
    /// Two exact numbers, such as sizes of files.
    Exact {
        /// The new value.
        candidate: f64,
        /// The accepted value.
        baseline: f64,
    },
    /// Nothing can be compared, for this reason.
    Invalid(String),
}

/// One metric of one variant.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// What was found.
    pub evidence: Evidence,
    /// The change that is tolerated.
    pub tolerance: Tolerance,
}

/// What a check says about a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Better by more than the tolerance.
    Improved,
    /// Worse by more than the tolerance.
    Regressed,
    /// Neither better nor worse by more than the tolerance.
    Unchanged,
    /// Too little data for any of the three.
    Inconclusive,
    /// No comparison is possible, for this reason.
    Invalid(String),
}

/// A verdict with the numbers that it rests on.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The verdict.
    pub verdict: Verdict,
    /// The interval that decided, at the case's own level after Holm's correction, as a ratio or a
    /// difference; for exact values, their difference. `None` without a spread.
    pub interval: Option<Interval>,
    /// Holm-adjusted p-value of "regressed"; 1 for cases outside the families.
    pub p_regressed: f64,
    /// Holm-adjusted p-value of "improved"; 1 for cases outside the families.
    pub p_improved: f64,
    /// The smallest worsening that would be found with probability [`POWER`] at the level of Holm's
    /// first step: for a ratio its distance from 1, for a difference its size, for exact values the
    /// tolerance. `None` if the spread is unknown.
    pub detectable: Option<f64>,
}

/// Judges all cases of a check. The probability of any false *regressed* is at most `alpha`; the same
/// holds for *improved* and for *unchanged*. Cases that are exact, invalid, without a spread or with a
/// single run belong to no family, because no test can decide them.
pub fn decide(cases: &[Case], alpha: f64) -> Vec<Decision> {
    let mut decisions: Vec<Decision> = cases.iter().map(without_test).collect();
    let family: Vec<(usize, Tested)> =
        cases.iter().enumerate().filter_map(|(at, case)| Some((at, Tested::new(case)?))).collect();
    let steps_of = |p: fn(&Tested) -> f64| {
        let p_values: Vec<f64> = family.iter().map(|(_, tested)| p(tested)).collect();
        steps(&p_values, alpha)
    };
    let regressed = steps_of(|tested| tested.p_beyond(tested.worse));
    let improved = steps_of(|tested| tested.p_beyond(-tested.worse));
    let unchanged = steps_of(Tested::p_changed);
    for (index, (at, tested)) in family.iter().enumerate() {
        let steps = [regressed[index], improved[index], unchanged[index]];
        decisions[*at] = tested.decision(steps, alpha, alpha / family.len() as f64);
    }
    decisions
}

/// A case that a test can decide.
struct Tested {
    effect: Effect,
    bound: f64,
    /// The sign of a change for the worse.
    worse: f64,
}

impl Tested {
    fn new(case: &Case) -> Option<Tested> {
        let Evidence::Estimated(effect) = case.evidence else { return None };
        effect.spread.filter(|spread| !spread.within_run_only)?;
        let bound = case.tolerance.bound(effect.scale, effect.baseline);
        if !(bound.is_finite() && effect.point.is_finite()) {
            return None;
        }
        Some(Tested { effect, bound, worse: case.tolerance.worse() })
    }

    /// The p-value of "beyond the bound" in the direction of `sign`.
    fn p_beyond(&self, sign: f64) -> f64 {
        if sign > 0.0 { self.effect.p_above(self.bound) } else { self.effect.p_below(-self.bound) }
    }

    /// The p-value of "within the bound": small if a change beyond it is ruled out.
    fn p_changed(&self) -> f64 {
        if self.effect.spread.is_some_and(|spread| spread.standard_error == 0.0) {
            return if self.effect.point.abs() <= self.bound { 0.0 } else { 1.0 };
        }
        self.effect.p_above(-self.bound).max(self.effect.p_below(self.bound))
    }

    fn decision(&self, steps: [HolmStep; 3], alpha: f64, first_alpha: f64) -> Decision {
        let [regressed, improved, unchanged] = steps;
        let found = [
            (Verdict::Regressed, regressed),
            (Verdict::Improved, improved),
            (Verdict::Unchanged, unchanged),
        ];
        let found = found.into_iter().find(|(_, step)| step.adjusted_p <= alpha);
        let (verdict, tail) = found
            .map_or((Verdict::Inconclusive, first_alpha), |(verdict, step)| (verdict, step.alpha));
        let interval = self.effect.student_interval(tail);
        let detectable = detectable_change(&self.effect, self.bound, first_alpha, POWER);
        Decision {
            verdict,
            interval: interval.and_then(|interval| self.effect.shown_interval(interval)),
            p_regressed: regressed.adjusted_p,
            p_improved: improved.adjusted_p,
            detectable: detectable
                .map(|change| self.shown_size(change))
                .filter(|size| size.is_finite()),
        }
    }

    /// The size of a worsening by `change` on the effect's scale, as people see it.
    fn shown_size(&self, change: f64) -> f64 {
        match self.effect.scale {
            Scale::LogRatio => (self.worse * change).exp_m1().abs(),
            Scale::Difference => change,
        }
    }
}

/// The verdict on a case that belongs to no family.
fn without_test(case: &Case) -> Decision {
    let decided = |verdict, interval, detectable| Decision {
        verdict,
        interval,
        p_regressed: 1.0,
        p_improved: 1.0,
        detectable,
    };
    match &case.evidence {
        Evidence::Estimated(effect) if effect.spread.is_some_and(|s| !s.within_run_only) => {
            let why = "cannot be told: the change or its tolerance is too large for a test";
            decided(Verdict::Invalid(why.to_owned()), None, None)
        }
        Evidence::Estimated(effect) => {
            decided(Verdict::Inconclusive, effect.estimate().interval, None)
        }
        Evidence::Invalid(reason) => decided(Verdict::Invalid(reason.clone()), None, None),
        Evidence::Exact { candidate, baseline } => {
            let change = candidate - baseline;
            if !change.is_finite() {
                return decided(Verdict::Invalid("a value is not finite".to_owned()), None, None);
            }
            let (worst, best, limit) = match case.tolerance.limit {
                Limit::Relative(share) => {
                    let factor = 1.0 + share;
                    (candidate > &(baseline * factor), candidate * factor < *baseline, share)
                }
                Limit::Absolute(amount) => (change > amount, -change > amount, amount),
            };
            let (worse, better) = match case.tolerance.better {
                Better::Lower => (worst, best),
                Better::Higher => (best, worst),
            };
            let verdict = match (worse, better) {
                (true, _) => Verdict::Regressed,
                (_, true) => Verdict::Improved,
                _ => Verdict::Unchanged,
            };
            let interval = Interval { low: change, high: change, level: 1.0 };
            decided(verdict, Some(interval), Some(limit))
        }
    }
}

#[cfg(test)]
mod tests;
