//! Paired effects on series whose truth is known.

use rand_chacha::rand_core::{Rng, SeedableRng};
use statrs::distribution::{ContinuousCDF, StudentsT};

use super::super::{
    Better, Case, Evidence, FAMILY_ALPHA, Limit, Tolerance, Verdict, block_length_for, decide,
};
use super::*;

/// A series that keeps a share `phi` of itself from window to window, of Student's t with five
/// degrees of freedom. Where `restarts` says so, a document begins with a level of its own.
fn series(seed: u64, n: usize, phi: f64, restarts: impl Fn(usize) -> bool) -> Vec<f64> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    // Not the numbers that the resampling of the same seed draws.
    random.set_stream(u64::MAX);
    let t = StudentsT::new(0.0, 1.0, 5.0).unwrap();
    let mut draw = || {
        let uniform = (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        t.inverse_cdf(uniform.clamp(1e-12, 1.0 - 1e-12))
    };
    let (mut value, mut level) = (draw() / (1.0 - phi * phi).sqrt(), 0.0);
    let next = |at| {
        value = phi * value + draw();
        if restarts(at) {
            level = draw();
        }
        value + level
    };
    (0..n).map(next).collect()
}

fn bootstrap(seed: u64, n: usize) -> Bootstrap {
    Bootstrap { resamples: 600, ..Bootstrap::new(seed, n) }
}

/// How many of 2,000 intervals of 95 % hold the truth, 0: Student's, percentile and BCa.
fn covered(n: usize, phi: f64, document: Option<usize>, is_told: bool) -> [usize; 3] {
    let documents: Vec<usize> = (0..n).map(|at| at / document.unwrap_or(n)).collect();
    let told = (document.is_some() && is_told).then_some(&documents[..]);
    let holds = |seed: u64| {
        let values = series(seed, n, phi, |at| document.is_some_and(|length| at % length == 0));
        let effect = difference(&values, &vec![1.0; n], told, &bootstrap(seed, n)).unwrap();
        let spread = effect.spread.unwrap();
        let student = effect.student_interval(0.025).unwrap();
        let intervals = [student, spread.percentile, spread.bca];
        intervals.map(|i| usize::from(i.low <= 0.0 && 0.0 <= i.high))
    };
    (0..2_000).map(holds).fold([0; 3], |a, b| std::array::from_fn(|at| a[at] + b[at]))
}

#[test]
fn intervals_of_autocorrelated_losses_hold_the_truth_as_often_as_they_say() {
    // The deviation of 2,000 trials is 10; benches/coverage.rs looks closer.
    for (n, phi) in [(64, 0.0), (64, 0.3), (128, 0.5), (192, 0.2)] {
        let covered = covered(n, phi, None, false);
        let is_right = (1_870..=1_930).contains(&covered[0]) && covered.iter().all(|c| *c >= 1_840);
        assert!(is_right, "{covered:?} of 2000 at n = {n}, phi = {phi}");
    }
}

#[test]
fn documents_that_differ_need_to_be_told() {
    let (told, untold) = (covered(240, 0.3, Some(8), true), covered(240, 0.3, Some(8), false));
    assert!((1_865..=1_935).contains(&told[0]), "{told:?}");
    assert!(untold[0] + 10 < told[0], "{untold:?} {told:?}");
    let few = covered(240, 0.3, Some(24), true)[0];
    assert!((1_860..=1_940).contains(&few), "{few}");
}

#[test]
fn a_true_change_of_half_a_percent_is_found_and_no_change_is_not() {
    // Neighbouring 4-bit variants of the demo: 192 windows, a deviation of 0.0047 nats per token.
    let found = |shift: f64| {
        let beyond = |seed| {
            let noise = series(seed, 192, 0.1, |_| false);
            let values: Vec<f64> =
                noise.iter().map(|v| 255.0 * (0.0047 * v / 1.3 + shift)).collect();
            let effect = difference(&values, &[255.0; 192], None, &bootstrap(seed, 192)).unwrap();
            effect.p_above(0.0) <= 0.005 / 20.0
        };
        (0..200).filter(|&seed| beyond(seed)).count()
    };
    assert!(found(1.005_f64.ln()) >= 198);
    assert!(found(0.0) <= 2);
}

#[test]
fn twenty_cells_without_a_change_rarely_raise_a_false_alarm() {
    let tolerance = Tolerance::new(Limit::Relative(0.0), Better::Lower).unwrap();
    let night = |night: u64| {
        let cell = |at: u64| {
            let seed = 20 * night + at;
            let values = series(seed, 64, 0.3, |_| false);
            let few = Bootstrap { resamples: 300, ..bootstrap(seed, 64) };
            difference(&values, &[1.0; 64], None, &few).unwrap()
        };
        let effects: Vec<Effect> = (0..20).map(cell).collect();
        let evidence = effects.iter().map(|effect| Evidence::Estimated(*effect));
        let cells: Vec<Case> = evidence.map(|evidence| Case { evidence, tolerance }).collect();
        let decisions = decide(&cells, FAMILY_ALPHA);
        let is_alarm = decisions.iter().any(|found| found.verdict == Verdict::Regressed);
        [is_alarm, effects.iter().any(|effect| effect.p_above(0.0) <= FAMILY_ALPHA)]
    };
    let nights: Vec<[bool; 2]> = (0..300).map(night).collect();
    let [corrected, single] = [0, 1].map(|at| nights.iter().filter(|night| night[at]).count());
    assert!(corrected <= 4, "{corrected} of 300 nights");
    assert!(single >= 15, "without Holm's correction only {single} of 300 nights");
}

#[test]
fn effects_are_sums_over_all_windows() {
    let scores = |nll: [f64; 4], kl: f64, top1: f64| {
        nll.map(|nll_nats| Scores {
            tokens: 10.0,
            text_bytes: 40.0,
            nll_nats,
            kl_nats: kl,
            top1_agree: top1,
        })
    };
    let (candidate, baseline) =
        (scores([11.0, 12.0, 13.0, 16.0], 2.0, 8.0), scores([10.0, 11.0, 13.0, 14.0], 1.0, 9.0));
    let found = paired(&candidate, &baseline, None, &Bootstrap::new(1, 4)).unwrap();
    assert_eq!((found.perplexity.point, found.perplexity.scale), (0.1, Scale::LogRatio));
    assert!((found.perplexity.baseline - 1.2_f64.exp()).abs() < 1e-12);
    assert!((found.kl_mean_nats.point - 0.1).abs() < 1e-12);
    assert_eq!((found.top1_agreement.point, found.top1_agreement.baseline), (-0.1, 0.9));
    let interval = found.perplexity.estimate().interval.unwrap();
    assert!(interval.low < 0.1_f64.exp() && 0.1_f64.exp() < interval.high);
    let itself = paired(&baseline, &baseline, None, &Bootstrap::new(1, 4)).unwrap();
    assert_eq!(itself.perplexity.spread.unwrap().standard_error, 0.0);
}

#[test]
fn what_cannot_be_paired_is_refused_with_its_reason() {
    let windows = [Scores { tokens: 10.0, ..Scores::default() }; 3];
    let against = |other: &[Scores]| paired(&windows, other, None, &Bootstrap::new(1, 3));
    let count = against(&windows[..2]).unwrap_err();
    assert_eq!(count.to_string(), "expected as many windows on both sides, found 3 and 2");
    let mut other = windows;
    other[1].tokens = 9.0;
    assert_eq!(against(&other), Err(NotPaired::Tokens { window: 1 }));
    other = windows;
    other[2].kl_nats = f64::NAN;
    assert_eq!(against(&other), Err(NotPaired::NotFinite { window: 2 }));
    let empty = [Scores::default(); 3];
    assert_eq!(paired(&empty, &empty, None, &Bootstrap::new(1, 3)), Err(NotPaired::Empty));
    let short = difference(&[1.0, 2.0], &[1.0, 1.0], Some(&[0]), &Bootstrap::new(1, 2));
    assert_eq!(short, Err(NotPaired::Count { candidate: 2, baseline: 1 }));
}

#[test]
fn one_window_or_one_block_has_a_point_and_no_spread() {
    let one = difference(&[0.5], &[1.0], None, &Bootstrap::new(1, 1)).unwrap();
    assert_eq!((one.point, one.spread), (0.5, None));
    let long = Bootstrap { block_length: 4, ..Bootstrap::new(1, 6) };
    assert_eq!(difference(&[1.0; 6], &[1.0; 6], None, &long).unwrap().spread, None);
    let one_document = difference(&[1.0; 6], &[1.0; 6], Some(&[7; 6]), &long).unwrap();
    assert_eq!(one_document.spread, None);
}

#[test]
fn blocks_keep_to_their_documents_and_many_documents_stay_whole() {
    let rows: Vec<[f64; 2]> = (0..44).map(|at| [f64::from(at), 1.0]).collect();
    let blocks = |documents: &[usize]| Blocks::new(&rows, Some(documents), 3).unwrap();
    let many = blocks(&(0..44).map(|at| at / 2).collect::<Vec<_>>());
    assert_eq!((many.drawn.len(), many.length), (22, None));
    assert_eq!(many.drawn[1], [5.0, 2.0]);
    // Documents of 20, 1 and 23 windows, in blocks of at least 3 where they can be.
    let few =
        blocks(&(0..44).map(|at| usize::from(at > 19) + usize::from(at > 20)).collect::<Vec<_>>());
    let lengths: Vec<f64> = few.drawn.iter().map(|[_, tokens]| *tokens).collect();
    assert_eq!(lengths, [3., 3., 4., 3., 3., 4., 1., 3., 3., 3., 4., 3., 3., 4.]);
    assert_eq!(few.drawn[6], [20.0, 1.0]);
    assert!(few.count > 13.0 && few.count < 14.0);
}

#[test]
fn blocks_see_the_whole_variance_only_of_what_they_hold() {
    assert_eq!(seen_share(0.0, 1), 1.0);
    assert!((seen_share(0.5, 1) - 1.0 / 3.0).abs() < 1e-15);
    assert!((seen_share(0.5, 2) - 1.5 / 3.0).abs() < 1e-15);
    assert!(seen_share(0.5, 100) > 0.98);
    let rows: Vec<[f64; 2]> = series(1, 20_000, 0.6, |_| false).iter().map(|&v| [v, 1.0]).collect();
    let found = autocorrelation(&rows, None, 0.0);
    assert!((found - 0.6).abs() < 0.02, "{found}");
    let each_apart: Vec<usize> = (0..rows.len()).collect();
    assert_eq!(autocorrelation(&rows, Some(&each_apart), 0.0), 0.0);
    assert_eq!(block_length_for(192), 5);
}
