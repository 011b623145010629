//! Holm's correction: many tests together, with a bound on the chance of any false rejection.

/// The p-values adjusted by Holm's step-down method (1979, "A simple sequentially rejective multiple
/// test procedure"), in the order given: the k-th smallest of m p-values is multiplied by m - k + 1, and
/// is at least its predecessor and at most 1. Rejecting adjusted p-values of at most α keeps the
/// probability of any false rejection at most α, however the tests depend on each other. NaN counts as 1.
fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut adjusted = vec![1.0; p_values.len()];
    let mut highest: f64 = 0.0;
    for (step, at) in ascending(p_values).into_iter().enumerate() {
        let p = if p_values[at].is_nan() { 1.0 } else { p_values[at] };
        highest = highest.max(p * (p_values.len() - step) as f64).min(1.0);
        adjusted[at] = highest;
    }
    adjusted
}

/// The result of Holm's method for one test of a family.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct HolmStep {
    /// The adjusted p-value.
    pub adjusted_p: f64,
    /// The level that the unadjusted p-value was compared with: α ÷ (m - k + 1).
    pub alpha: f64,
}

/// The steps of a family at the family-wise level `alpha`. Holm's method stops at the first p-value above
/// its level; later ones are compared with that same level.
pub(super) fn steps(p_values: &[f64], alpha: f64) -> Vec<HolmStep> {
    let adjusted = holm(p_values);
    let mut steps = vec![HolmStep { adjusted_p: 1.0, alpha }; p_values.len()];
    let mut stopped_at = None;
    for (step, at) in ascending(p_values).into_iter().enumerate() {
        let own = alpha / (p_values.len() - step) as f64;
        let level = stopped_at.unwrap_or(own);
        if adjusted[at] > alpha {
            stopped_at = stopped_at.or(Some(own));
        }
        steps[at] = HolmStep { adjusted_p: adjusted[at], alpha: level };
    }
    steps
}

fn ascending(p_values: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const P_VALUES: [f64; 7] = [0.011, 0.0004, 0.8, 0.011, 0.04, 0.3, 0.0021];

    #[test]
    fn adjusted_p_values_are_those_of_statsmodels() {
        // tests/golden/make_stats.py: multipletests(p, alpha=0.05, method="holm").
        let theirs = [0.055, 0.0028, 0.8, 0.055, 0.12, 0.6, 0.0126];
        for (ours, theirs) in holm(&P_VALUES).iter().zip(theirs) {
            assert!((ours - theirs).abs() < 1e-12, "{ours} is not {theirs}");
        }
        assert!(holm(&[]).is_empty());
        assert_eq!(holm(&[f64::NAN, 0.01]), [1.0, 0.02]);
    }

    #[test]
    fn levels_grow_until_the_first_p_value_above_its_own() {
        let levels: Vec<f64> = steps(&P_VALUES, 0.05).iter().map(|step| step.alpha).collect();
        let fifth = 0.05 / 5.0;
        assert_eq!(levels, [fifth, 0.05 / 7.0, fifth, fifth, fifth, fifth, 0.05 / 6.0]);
    }

    proptest! {
        #[test]
        fn holm_rejects_whatever_bonferroni_rejects(
            p_values in prop::collection::vec(0.0..0.1_f64, 1..12),
        ) {
            let steps = steps(&p_values, 0.05);
            for (p, step) in p_values.iter().zip(&steps) {
                prop_assert!(step.adjusted_p >= *p);
                let is_rejected = step.adjusted_p <= 0.05;
                prop_assert!(is_rejected || *p > 0.05 / p_values.len() as f64);
                let is_clear = (step.adjusted_p - 0.05).abs() > 1e-12;
                prop_assert!(!is_clear || is_rejected == (*p <= step.alpha));
            }
        }
    }
}
