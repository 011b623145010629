//! Verdicts on effects of known size and spread.

use super::super::effect::tests::effect;
use super::super::{Scale, Spread};
use super::*;

fn tolerance(limit: Limit, better: Better) -> Tolerance {
    Tolerance::new(limit, better).unwrap()
}

fn ratio(point: f64, standard_error: f64) -> Case {
    Case {
        evidence: Evidence::Estimated(effect(Scale::LogRatio, point, standard_error, 30.0)),
        tolerance: tolerance(Limit::Relative(0.005), Better::Lower),
    }
}

fn verdicts(cases: &[Case]) -> Vec<Verdict> {
    decide(cases, FAMILY_ALPHA).into_iter().map(|decision| decision.verdict).collect()
}

#[test]
fn the_whole_interval_decides() {
    let cases =
        [ratio(0.02, 0.001), ratio(-0.02, 0.001), ratio(0.001, 0.0005), ratio(0.007, 0.002)];
    let decisions = decide(&cases, FAMILY_ALPHA);
    let found: Vec<&Verdict> = decisions.iter().map(|decision| &decision.verdict).collect();
    let expected =
        [Verdict::Regressed, Verdict::Improved, Verdict::Unchanged, Verdict::Inconclusive];
    assert_eq!(found, expected.iter().collect::<Vec<_>>());
    let [regressed, improved, unchanged, inconclusive] =
        [0, 1, 2, 3].map(|at: usize| decisions[at].interval.unwrap());
    assert!(regressed.low > 1.005 && improved.high < 1.0 / 1.005);
    assert!(unchanged.low > 1.0 / 1.005 && unchanged.high < 1.005, "{unchanged:?}");
    assert!(inconclusive.low < 1.005 && inconclusive.high > 1.005);
    assert!(decisions[0].p_regressed < 1e-6 && decisions[0].p_improved == 1.0);
}

#[test]
fn exchanging_the_sides_or_the_direction_exchanges_the_verdicts() {
    let higher = |point| Case {
        tolerance: tolerance(Limit::Relative(0.005), Better::Higher),
        ..ratio(point, 0.001)
    };
    assert_eq!(verdicts(&[higher(0.02)]), [Verdict::Improved]);
    assert_eq!(verdicts(&[higher(-0.02)]), [Verdict::Regressed]);
    for point in [0.0092, 0.0093, 0.0094] {
        let is_regressed = verdicts(&[ratio(point, 0.0015)]) == [Verdict::Regressed];
        let is_improved = verdicts(&[ratio(-point, 0.0015)]) == [Verdict::Improved];
        assert_eq!(is_regressed, is_improved, "{point}");
    }
}

#[test]
fn one_of_many_cases_needs_more_than_one_alone() {
    let doubtful = ratio(0.0085, 0.001);
    assert_eq!(verdicts(std::slice::from_ref(&doubtful)), [Verdict::Regressed]);
    let mut cases = vec![ratio(0.0, 0.001); 20];
    cases[7] = doubtful;
    assert_eq!(verdicts(&cases)[7], Verdict::Inconclusive);
    // Cells that are beyond doubt leave the levels of fewer cases to the rest.
    let mut cases = vec![ratio(0.5, 0.001); 20];
    cases[7] = ratio(0.0085, 0.001);
    assert!(verdicts(&cases).iter().all(|verdict| *verdict == Verdict::Regressed));
}

#[test]
fn identical_windows_are_unchanged_even_at_tolerance_zero() {
    let strict = tolerance(Limit::Relative(0.0), Better::Lower);
    let same = Case { tolerance: strict, ..ratio(0.0, 0.0) };
    let other = Case { tolerance: strict, ..ratio(1e-9, 0.0) };
    assert_eq!(verdicts(&[same, other]), [Verdict::Unchanged, Verdict::Regressed]);
    let noisy = Case { tolerance: strict, ..ratio(0.0, 1e-6) };
    assert_eq!(verdicts(&[noisy]), [Verdict::Inconclusive]);
}

#[test]
fn exact_numbers_are_compared_exactly() {
    let size = |candidate, baseline, limit| Case {
        evidence: Evidence::Exact { candidate, baseline },
        tolerance: tolerance(limit, Better::Lower),
    };
    let cases = [
        size(1_001.0, 1_000.0, Limit::Absolute(0.0)),
        size(1_000.0, 1_000.0, Limit::Relative(0.0)),
        size(1_100.0, 1_000.0, Limit::Relative(0.1)),
        size(1_101.0, 1_000.0, Limit::Relative(0.1)),
        size(900.0, 1_000.0, Limit::Relative(0.1)),
        size(f64::NAN, 1_000.0, Limit::Relative(0.1)),
    ];
    let not_finite = Verdict::Invalid("a value is not finite".to_owned());
    use Verdict::{Improved, Regressed, Unchanged};
    let expected = [Regressed, Unchanged, Unchanged, Regressed, Improved, not_finite];
    assert_eq!(verdicts(&cases), expected);
    let decision = &decide(&cases, FAMILY_ALPHA)[0];
    assert_eq!(decision.interval, Some(Interval { low: 1.0, high: 1.0, level: 1.0 }));
    assert_eq!(decision.detectable, Some(0.0));
}

#[test]
fn too_little_data_is_inconclusive_and_no_data_invalid() {
    let change = effect(Scale::LogRatio, 0.5, 0.001, 9.0);
    let spread = change.spread.map(|spread| Spread { within_run_only: true, ..spread });
    let one_run = Evidence::Estimated(Effect { spread, ..change });
    let one_window = Evidence::Estimated(Effect { spread: None, ..change });
    let invalid = Evidence::Invalid("another text".to_owned());
    let cases = [one_run, one_window, invalid].map(|evidence| Case { evidence, ..ratio(0.0, 1.0) });
    let decisions = decide(&cases, FAMILY_ALPHA);
    assert_eq!(decisions[0].verdict, Verdict::Inconclusive);
    assert!(decisions[0].interval.is_some() && decisions[0].detectable.is_none());
    assert_eq!((&decisions[1].verdict, decisions[1].interval), (&Verdict::Inconclusive, None));
    assert_eq!(decisions[2].verdict, Verdict::Invalid("another text".to_owned()));
    assert!(decide(&[], FAMILY_ALPHA).is_empty());
}

#[test]
fn differences_may_have_relative_limits_and_ratios_absolute_ones() {
    let limits = [Limit::Relative(0.1), Limit::Absolute(0.2)];
    for limit in limits {
        let tolerance = tolerance(limit, Better::Lower);
        assert!((tolerance.bound(Scale::Difference, -2.0) - 0.2).abs() < 1e-15);
        assert!((tolerance.bound(Scale::LogRatio, 2.0) - 1.1_f64.ln()).abs() < 1e-15);
    }
}

#[test]
fn tolerances_below_zero_or_without_end_are_refused() {
    let refused = |value| Tolerance::new(Limit::Absolute(value), Better::Lower).unwrap_err();
    assert_eq!(refused(-0.1), BadTolerance::Negative { value: -0.1 });
    assert_eq!(refused(-0.1).to_string(), "expected a tolerance of 0 or more, found -0.1");
    assert_eq!(refused(f64::NAN), BadTolerance::NotFinite);
    assert_eq!(refused(f64::NEG_INFINITY), BadTolerance::NotFinite);
}

#[test]
fn the_detectable_change_of_a_ratio_is_its_distance_from_one() {
    // scipy 1.17.1: t.isf(0.005, 30) = 2.749996, t.ppf(0.9, 30) = 1.310415.
    let decision = &decide(&[ratio(0.001, 0.001)], 0.005)[0];
    let change = 0.005_f64.ln_1p() + (2.749_996 + 1.310_415) * 0.001;
    assert!((decision.detectable.unwrap() - change.exp_m1()).abs() < 1e-8, "{decision:?}");
}
