//! Every public function on every finite number: it ends, and its result is finite or says that it
//! cannot be told.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

/// Far more than any call here takes without optimization; an endless search takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Numbers at and around every limit, beside all others.
fn number() -> impl Strategy<Value = f64> {
    let limits = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        5e-324,
        -5e-324,
        f64::MIN_POSITIVE,
        1e-200,
        1e-140,
        1e-16,
        0.1,
        700.0,
        4_294_967_295.0,
        1e15,
        1e90,
        -1e90,
        1.1e90,
        1e154,
        1e200,
        -1e200,
        1e308,
        -1e308,
        f64::MAX,
        f64::MIN,
    ];
    let usual = -1e3..1e3_f64;
    let any = any::<f64>().prop_filter("finite", |value| value.is_finite());
    prop_oneof![prop::sample::select(limits.to_vec()), usual, any]
}

fn numbers() -> impl Strategy<Value = Vec<f64>> {
    let same = (number(), 0..12_usize).prop_map(|(value, count)| vec![value; count]);
    prop_oneof![prop::collection::vec(number(), 0..12), same]
}

fn scores() -> impl Strategy<Value = Vec<Scores>> {
    let one = [number(), number(), number(), number(), number()].prop_map(
        |[tokens, text_bytes, nll_nats, kl_nats, top1_agree]| Scores {
            tokens: tokens.abs(),
            text_bytes,
            nll_nats,
            kl_nats,
            top1_agree,
        },
    );
    prop::collection::vec(one, 0..10)
}

fn few(level: f64, block_length: usize) -> Bootstrap {
    Bootstrap { seed: 1, resamples: 20, level, block_length }
}

fn is_finite(estimate: &Estimate) -> bool {
    let ends = estimate.interval.is_none_or(|interval| interval.finite().is_some());
    estimate.point.is_finite() && ends
}

/// Whether everything that is said about an effect is finite.
fn is_told(effect: &Effect) -> bool {
    let changes = [
        detectable_change(effect, 0.1, 0.001, POWER),
        windows_needed(effect, 0.2, 0.1, 0.001, POWER).map(|windows| windows as f64),
    ];
    let tails = [effect.p_above(0.1), effect.p_below(-0.1), effect.p_above(f64::MAX)];
    is_finite(&effect.estimate())
        && effect.baseline.is_finite()
        && changes.into_iter().flatten().all(f64::is_finite)
        && tails.into_iter().all(|p| (0.0..=1.0).contains(&p))
}

fn are_told(cases: &[Case]) -> bool {
    decide(cases, FAMILY_ALPHA).iter().all(|decision| {
        let Decision { interval, p_regressed, p_improved, detectable, .. } = decision;
        interval.is_none_or(|interval| interval.finite().is_some())
            && [p_regressed, p_improved].into_iter().all(|p| (0.0..=1.0).contains(p))
            && detectable.is_none_or(f64::is_finite)
    })
}

fn tolerances(value: f64) -> Vec<Tolerance> {
    let limits = [Limit::Relative(value.abs()), Limit::Absolute(value.abs())];
    let both = limits.into_iter().flat_map(|l| [(l, Better::Lower), (l, Better::Higher)]);
    both.map(|(limit, better)| Tolerance::new(limit, better).unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn samples_and_medians_are_finite_or_refused(values in numbers(), level in number(), p in number()) {
        if let Ok(sample) = Sample::new(values.clone()) {
            let all = [sample.mean(), sample.median(), sample.quantile(p), sample.standard_deviation()];
            prop_assert!(all.into_iter().all(f64::is_finite), "{all:?}");
        }
        for level in [0.95, level] {
            prop_assert!(median(&values, level).is_none_or(|found| is_finite(&found)));
        }
    }

    #[test]
    fn qualities_and_pairs_are_finite_or_refused(
        ours in scores(),
        theirs in scores(),
        level in number(),
        block_length in prop_oneof![0..4_usize, Just(usize::MAX)],
        documents in prop::collection::vec(0..4_usize, 10),
    ) {
        let begun = Instant::now();
        // The level of an interval is the program's own.
        let level = if (0.01..0.999).contains(&level) { level } else { 0.9 };
        let shared = ours.len().min(theirs.len());
        let mut theirs = theirs[..shared].to_vec();
        let ours = &ours[..shared];
        theirs.iter_mut().zip(ours).for_each(|(theirs, ours)| theirs.tokens = ours.tokens);
        let documents = &documents[..shared];
        for bootstrap in [few(0.95, 1), few(level, block_length)] {
            if let Some(found) = quality(ours, &bootstrap) {
                let Quality { perplexity, kl_mean_nats, top1_agreement, bits_per_byte } = found;
                let all = [perplexity, kl_mean_nats, top1_agreement, bits_per_byte];
                prop_assert!(all.iter().all(is_finite), "{all:?}");
            }
            if let Some(found) = compare(ours, &theirs, &bootstrap) {
                prop_assert!(is_finite(&found.perplexity_ratio) && is_finite(&found.nll_difference_nats));
            }
            for documents in [None, Some(documents)] {
                let Ok(found) = paired(ours, &theirs, documents, &bootstrap) else { continue };
                let all = [found.perplexity, found.kl_mean_nats, found.top1_agreement];
                prop_assert!(all.iter().all(is_told), "{all:?}");
                let of = |&effect: &Effect| tolerances(level).into_iter().map(move |tolerance| {
                    Case { evidence: Evidence::Estimated(effect), tolerance }
                });
                let cases: Vec<Case> = all.iter().flat_map(of).collect();
                prop_assert!(are_told(&cases), "{cases:?}");
            }
        }
        prop_assert!(begun.elapsed() < PATIENCE);
    }

    #[test]
    fn ratios_of_medians_are_finite_or_refused(
        ours in prop::collection::vec(numbers(), 0..4),
        theirs in prop::collection::vec(numbers(), 0..4),
    ) {
        let positive = |runs: &[Vec<f64>]| -> Vec<Vec<f64>> {
            runs.iter().map(|run| run.iter().map(|value| value.abs()).collect()).collect()
        };
        for (ours, theirs) in [(ours.clone(), theirs.clone()), (positive(&ours), positive(&theirs))] {
            if let Ok(effect) = ratio_of_medians(&ours, &theirs, &few(0.95, 1)) {
                prop_assert!(is_told(&effect), "{effect:?}");
            }
        }
    }

    #[test]
    fn verdicts_on_any_numbers_end(
        [point, error, freedom, baseline, candidate, limit] in
            [number(), number(), number(), number(), number(), number()],
        alpha in number(),
        n in prop_oneof![0..50_usize, Just(usize::MAX)],
    ) {
        let begun = Instant::now();
        let none = Interval { low: point, high: point, level: 0.95 };
        let spread = Spread {
            standard_error: error.abs(),
            degrees_of_freedom: freedom,
            percentile: none,
            bca: none,
            within_run_only: false,
        };
        let mut cases = Vec::new();
        for scale in [Scale::LogRatio, Scale::Difference] {
            let point = if scale == Scale::LogRatio { point.clamp(-600.0, 600.0) } else { point };
            let effect = Effect { scale, baseline, point, spread: Some(spread), n };
            prop_assert!(is_told(&effect), "{effect:?}");
            let needed = windows_needed(&effect, limit, candidate, alpha, POWER);
            prop_assert!(needed.is_none_or(|windows| windows <= 1 << 24));
            for tolerance in tolerances(limit) {
                cases.push(Case { evidence: Evidence::Estimated(effect), tolerance });
                cases.push(Case { evidence: Evidence::Exact { candidate, baseline }, tolerance });
            }
        }
        prop_assert!(are_told(&cases), "{cases:?}");
        prop_assert_eq!(decide(&cases, alpha).len(), cases.len());
        prop_assert!(begun.elapsed() < PATIENCE);
    }

    #[test]
    fn histories_of_any_numbers_have_finite_levels(values in numbers(), errors in numbers(), least: usize) {
        let errors = errors.into_iter().map(|error| Some(error.abs())).chain(std::iter::repeat(None));
        let night = |(value, standard_error)| Observation { value, standard_error };
        let history: Vec<Observation> = values.into_iter().zip(errors).map(night).collect();
        for least in [1, 3, least] {
            let search = Search { permutations: 30, alpha: 0.5, least, ..Search::new(1) };
            for found in change_points(&history, &search) {
                prop_assert!([found.p, found.before, found.after].into_iter().all(f64::is_finite));
            }
        }
    }

    #[test]
    fn bounds_of_codes_and_lengths_of_blocks_are_finite(bits in number(), windows: usize) {
        prop_assert!(rate_distortion(bits).is_finite());
        let length = block_length_for(windows) as u128;
        prop_assert!(length.pow(3) <= windows.max(1) as u128 && (length + 1).pow(3) > windows as u128);
    }
}

#[test]
fn a_window_of_two_to_the_32_nats_is_judged_and_never_green() {
    let window =
        |nll_nats| Scores { tokens: 31.0, text_bytes: 90.0, nll_nats, ..Scores::default() };
    let usual = [window(5.6), window(34.3)];
    for worst in [4_294_967_295.0, 1e200, 1e308, 5e-324, 0.0] {
        let odd = [window(5.6), window(worst)];
        for (now, then) in [(&odd, &usual), (&usual, &odd), (&odd, &odd)] {
            let found = paired(now, then, None, &Bootstrap::new(0, 2));
            match found {
                Ok(found) => assert!(is_told(&found.perplexity), "{found:?}"),
                Err(why) => assert!(why.to_string().contains("cannot be told"), "{why}"),
            }
        }
    }
}

#[test]
fn a_spread_of_tiny_numbers_is_a_spread() {
    let sample = Sample::new(vec![1e-200, 3e-200]).unwrap();
    assert!((sample.standard_deviation() / 2_f64.sqrt() / 1e-200 - 1.0).abs() < 1e-12);
}
