//! What a comparison could have seen: without it, "no regression found" says nothing.

use super::Effect;

/// The chance, by default, with which a change of the detectable size is found.
pub const POWER: f64 = 0.9;

/// The smallest true change, on the effect's scale and counted from 0, that is found beyond `bound`
/// with probability `power` by a one-sided test at level `alpha`:
/// bound + (t(1 - alpha) + t(power)) · standard error (Bloom, 1995, "Minimum detectable effects").
/// `None` without a spread, or where it is that within one run only.
pub fn detectable_change(effect: &Effect, bound: f64, alpha: f64, power: f64) -> Option<f64> {
    let spread = effect.spread.filter(|spread| !spread.within_run_only)?;
    if spread.standard_error == 0.0 {
        return Some(bound);
    }
    Some(bound + (spread.t(1.0 - alpha) + spread.t(power)) * spread.standard_error)
}

/// The windows (or runs) needed to find a true change of `wanted` beyond `bound` as
/// [`detectable_change`] says, if further ones are like those at hand:
/// n · ((detectable - bound) ÷ (wanted - bound))², which is cautious, because t shrinks as n grows.
/// `None` if `wanted` does not exceed `bound`, or nothing is known of the spread.
pub fn windows_needed(
    effect: &Effect,
    wanted: f64,
    bound: f64,
    alpha: f64,
    power: f64,
) -> Option<usize> {
    let beyond = detectable_change(effect, bound, alpha, power)? - bound;
    let factor = beyond / (wanted - bound);
    let windows = (effect.n as f64 * factor * factor).ceil();
    (wanted > bound && windows.is_finite()).then_some((windows as usize).max(2))
}

#[cfg(test)]
mod tests {
    use super::super::effect::tests::effect;
    use super::super::{Scale, Spread};
    use super::*;

    #[test]
    fn the_detectable_change_is_a_sum_of_two_quantiles_of_t() {
        // scipy 1.17.1: t.isf(0.0005, 20) = 3.849516, t.ppf(0.9, 20) = 1.325341.
        let found = effect(Scale::LogRatio, 0.3, 0.001, 20.0);
        let change = detectable_change(&found, 0.002, 0.0005, 0.9).unwrap();
        assert!((change - 0.002 - 0.005_174_857).abs() < 1e-8, "{change}");
    }

    #[test]
    fn half_the_change_needs_four_times_the_windows() {
        let found = effect(Scale::LogRatio, 0.0, 0.001, 20.0);
        let change = detectable_change(&found, 0.0, 0.0005, 0.9).unwrap();
        let needed = |wanted| windows_needed(&found, wanted, 0.0, 0.0005, 0.9);
        assert_eq!(needed(change / 2.0), Some(40));
        assert_eq!(needed(change * 100.0), Some(2));
        assert_eq!(needed(0.0), None);
    }

    #[test]
    fn one_run_could_have_seen_nothing() {
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
