//! The change that a comparison could have found: without it, "no regression found" says nothing.

use super::{Effect, Spread};

/// The default probability with which a change of the detectable size is found.
pub const POWER: f64 = 0.9;

/// The smallest true change, on the effect's scale and counted from 0, that a one-sided test at level
/// `alpha` finds to be beyond `bound` with probability `power`:
/// bound + (t(1 - alpha) + t(power)) · standard error (Bloom, 1995, "Minimum detectable effects").
/// `None` without a spread, if the spread is that within a single run, or if it cannot be told.
pub fn detectable_change(effect: &Effect, bound: f64, alpha: f64, power: f64) -> Option<f64> {
    let spread = effect.spread.filter(|spread| !spread.within_run_only)?;
    if spread.standard_error == 0.0 {
        return Some(bound).filter(|change| change.is_finite());
    }
    let change = bound + (spread.t(1.0 - alpha) + spread.t(power)) * spread.standard_error;
    Some(change).filter(|change| change.is_finite())
}

/// More windows than this are not considered.
const MAX_WINDOWS: usize = 1 << 24;

/// The fewest windows (or runs) with which [`detectable_change`] would be at most `wanted`, if further
/// windows are like the present ones: the standard error falls with 1 ÷ √windows, blocks keep their
/// length, and the degrees of freedom grow with the number of blocks. `None` if `wanted` does not exceed
/// `bound`, the spread is unknown, or [`MAX_WINDOWS`] do not suffice. It takes at most 50 steps: the
/// number is doubled up to [`MAX_WINDOWS`], and the last interval halved.
pub fn windows_needed(
    effect: &Effect,
    wanted: f64,
    bound: f64,
    alpha: f64,
    power: f64,
) -> Option<usize> {
    let is_known = |spread: &Spread| !spread.within_run_only && wanted > bound && effect.n > 0;
    let spread = effect.spread.filter(is_known)?;
    let suffices = |windows: usize| {
        let share = windows as f64 / effect.n as f64;
        let degrees_of_freedom = (spread.degrees_of_freedom + 1.0) * share - 1.0;
        let standard_error = spread.standard_error / share.sqrt();
        let other = Spread { standard_error, degrees_of_freedom, ..spread };
        let other = Effect { spread: Some(other), ..*effect };
        let detectable = detectable_change(&other, bound, alpha, power);
        degrees_of_freedom >= 1.0 && detectable.is_some_and(|change| change <= wanted)
    };
    let (mut too_few, mut enough) = (1, 2);
    while !suffices(enough) {
        if enough >= MAX_WINDOWS {
            return None;
        }
        (too_few, enough) = (enough, 2 * enough);
    }
    while enough - too_few > 1 {
        let middle = usize::midpoint(too_few, enough);
        *(if suffices(middle) { &mut enough } else { &mut too_few }) = middle;
    }
    Some(enough)
}

#[cfg(test)]
mod tests {
    use super::super::Scale;
    use super::super::effect::tests::effect;
    use super::*;

    #[test]
    fn the_detectable_change_is_a_sum_of_two_quantiles_of_t() {
        // scipy 1.17.1: t.isf(0.0005, 20) = 3.849516, t.ppf(0.9, 20) = 1.325341.
        let found = effect(Scale::LogRatio, 0.3, 0.001, 20.0);
        let change = detectable_change(&found, 0.002, 0.0005, 0.9).unwrap();
        assert!((change - 0.002 - 0.005_174_857).abs() < 1e-8, "{change}");
    }

    #[test]
    fn half_the_change_needs_nearly_four_times_the_windows() {
        let found = effect(Scale::LogRatio, 0.0, 0.001, 20.0);
        let change = detectable_change(&found, 0.0, 0.0005, 0.9).unwrap();
        let needed = |wanted| windows_needed(&found, wanted, 0.0, 0.0005, 0.9);
        assert_eq!(needed(change * 1.000_001), Some(10));
        assert!((33..=38).contains(&needed(change / 2.0).unwrap()), "{:?}", needed(change / 2.0));
        assert!((4..10).contains(&needed(change * 2.0).unwrap()), "{:?}", needed(change * 2.0));
        assert_eq!((needed(0.0), needed(f64::NAN)), (None, None));
    }

    #[test]
    fn a_single_run_could_have_found_nothing() {
        let found = effect(Scale::LogRatio, 0.0, 0.001, 20.0);
        let spread = found.spread.map(|spread| Spread { within_run_only: true, ..spread });
        for spread in [spread, None] {
            let alone = Effect { spread, ..found };
            assert_eq!(detectable_change(&alone, 0.0, 0.01, 0.9), None);
            assert_eq!(windows_needed(&alone, 1.0, 0.0, 0.01, 0.9), None);
        }
        let certain = effect(Scale::Difference, 0.0, 0.0, 20.0);
        assert_eq!(detectable_change(&certain, 0.1, 0.01, 0.9), Some(0.1));
    }
}
