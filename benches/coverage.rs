//! Whether intervals hold the truth as often as they say, verdicts cry wolf, and changes are found:
//! the numbers of `reports/METHOD.md`. `cargo bench --bench coverage` simulates them in some
//! minutes; nothing printed but the last section depends on the machine.
//!
//! Losses are simulated as paired differences: AR(1) from window to window, innovations of Student's
//! t with five degrees of freedom, in documents with a level of their own where there are any.

use std::io::Write;
use std::time::Instant;

use evalkit::stats::{
    Better, Bootstrap, Case, Effect, Evidence, FAMILY_ALPHA, Interval, Limit, Scale, Tolerance,
    Verdict, decide, difference, ratio_of_medians, windows_needed,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;

const TRIALS: u64 = 10_000;
/// Enough for standard errors, from which default intervals and verdicts are made; the outer
/// quantiles of so few make percentile and BCa intervals cover about 0.2 less than with 10,000.
const RESAMPLES: usize = 1_000;
const NIGHTS: u64 = 1_000;
const CELLS: u64 = 20;
/// The demo: windows, scored tokens in each.
const DEMO_WINDOWS: usize = 192;
const DEMO_TOKENS: f64 = 255.0;
/// Standard deviations of the paired difference of a window in nats per token, as in the demo's
/// records: two ways of coding at 4 bits (`palette4-g16`, `palette4-g16-s`) and at 2 bits.
const DEMO_DEVIATIONS: [(&str, f64); 2] = [("4 bits", 0.0047), ("2 bits", 0.0287)];
/// The deviation of t with five degrees of freedom, √(5 ÷ 3).
const T_DEVIATION: f64 = 1.290_994;

/// A source of simulated numbers.
struct Source(ChaCha8Rng);

impl Source {
    fn new(seed: u64) -> Source {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        // Not the numbers that the resampling of the same seed draws.
        random.set_stream(u64::MAX);
        Source(random)
    }

    fn uniform(&mut self) -> f64 {
        ((self.0.next_u64() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    /// Student's t with five degrees of freedom, scaled to deviation 1 (Bailey, 1994, "Polar
    /// generation of random variates with the t-distribution").
    fn draw(&mut self) -> f64 {
        let (u, angle) = (self.uniform(), std::f64::consts::TAU * self.uniform());
        (5.0 * (u.powf(-0.4) - 1.0)).sqrt() * angle.cos() / T_DEVIATION
    }

    /// AR(1) of deviation 1; a document of `document` windows adds a level of its own, of deviation 1.
    fn series(&mut self, n: usize, phi: f64, document: Option<usize>) -> Vec<f64> {
        let innovation = (1.0 - phi * phi).sqrt();
        let (mut value, mut level) = (self.draw(), 0.0);
        // What the start's own distribution is, a few dozen windows later no longer shows.
        (0..30).for_each(|_| value = phi * value + innovation * self.draw());
        let next = |at: usize| {
            value = phi * value + innovation * self.draw();
            if document.is_some_and(|length| at.is_multiple_of(length)) {
                level = self.draw();
            }
            value + level
        };
        (0..n).map(next).collect()
    }
}

fn bootstrap(seed: u64, n: usize) -> Bootstrap {
    Bootstrap { resamples: RESAMPLES, ..Bootstrap::new(seed, n) }
}

fn effect(values: &[f64], documents: Option<&[usize]>, seed: u64) -> Effect {
    let tokens = vec![1.0; values.len()];
    difference(values, &tokens, documents, &bootstrap(seed, values.len())).expect("paired")
}

/// Percent of trials whose percentile, BCa and Student's intervals hold 0.
fn covered(trial: impl Fn(u64) -> Effect + Sync) -> [f64; 3] {
    let holds =
        |interval: Interval| f64::from(u8::from(interval.low <= 0.0 && interval.high >= 0.0));
    let counts = (0..TRIALS).into_par_iter().map(|seed| {
        let effect = trial(seed);
        let spread = effect.spread.expect("enough windows");
        let student = effect.student_interval(0.025).expect("enough windows");
        [spread.percentile, spread.bca, student].map(holds)
    });
    let sums = counts.reduce(|| [0.0; 3], |a, b| std::array::from_fn(|at| a[at] + b[at]));
    sums.map(|sum| 100.0 * sum / TRIALS as f64)
}

fn coverage(out: &mut impl Write) -> std::io::Result<()> {
    writeln!(out, "Coverage of 95 % intervals, {TRIALS} trials, %")?;
    writeln!(
        out,
        "{:28} {:>8} {:>10} {:>6} {:>8}",
        "series", "windows", "percentile", "BCa", "Student"
    )?;
    let mut row = |name: &str, n: usize, [percentile, bca, student]: [f64; 3]| {
        writeln!(out, "{name:28} {n:8} {percentile:10.1} {bca:6.1} {student:8.1}")
    };
    for phi in [0.0, 0.2, 0.3, 0.5, 0.7] {
        for n in [16, 32, 64, 128, DEMO_WINDOWS, 256] {
            let trial = |seed| effect(&Source::new(seed).series(n, phi, None), None, seed);
            row(&format!("AR {phi}"), n, covered(trial))?;
        }
    }
    for (length, n) in [(8, 256), (4, 128), (16, 256), (50, 250), (80, 240)] {
        let documents: Vec<usize> = (0..n).map(|at| at / length).collect();
        for (told, documents) in [("known", Some(&documents[..])), ("unknown", None)] {
            let series = |seed| Source::new(seed).series(n, 0.3, Some(length));
            let name = format!("AR 0.3, {} documents {told}", n / length);
            row(&name, n, covered(|seed| effect(&series(seed), documents, seed)))?;
        }
    }
    for runs in [3, 5, 10, 20] {
        let name = format!("medians, {runs} runs of 15");
        row(&name, runs, covered(|seed| timing_effect(&mut Source::new(seed), runs, seed)))?;
    }
    Ok(())
}

/// Two sets of runs of 15 repetitions without a difference: 1 % between runs, 1 % within.
fn timing_effect(source: &mut Source, runs: usize, seed: u64) -> Effect {
    let mut side = || {
        let mut run = || {
            let level = 1.0 + 0.01 * source.draw();
            (0..15).map(|_| 20.0 * level * (0.01 * source.draw()).exp()).collect::<Vec<f64>>()
        };
        (0..runs).map(|_| run()).collect::<Vec<_>>()
    };
    let (candidate, baseline) = (side(), side());
    ratio_of_medians(&candidate, &baseline, &bootstrap(seed, runs)).expect("timings")
}

/// How many nights, of as many as given, show any cell with `verdict`.
fn nights(nights: u64, verdict: &Verdict, cell: impl Fn(u64) -> Effect + Sync) -> f64 {
    let tolerance = Tolerance::new(Limit::Relative(0.0), Better::Lower).expect("zero");
    let has = |night: u64| {
        let cells: Vec<Case> = (0..CELLS)
            .map(|at| Case { evidence: Evidence::Estimated(cell(night * CELLS + at)), tolerance })
            .collect();
        u64::from(decide(&cells, FAMILY_ALPHA).iter().any(|found| found.verdict == *verdict))
    };
    (0..nights).into_par_iter().map(has).sum::<u64>() as f64
}

fn false_alarms(out: &mut impl Write) -> std::io::Result<()> {
    writeln!(out, "\nA/A nights with any of {CELLS} independent cells regressed, tolerance 0, %")?;
    writeln!(out, "{:28} {:>8} {:>12} {:>12}", "series", "windows", "1000 nights", "10000 nights")?;
    let share = |count: u64, cell: &(dyn Fn(u64) -> Effect + Sync)| {
        100.0 * nights(count, &Verdict::Regressed, cell) / count as f64
    };
    for phi in [0.0, 0.2, 0.3, 0.5] {
        for n in [64, DEMO_WINDOWS] {
            let cell = |seed| effect(&Source::new(seed).series(n, phi, None), None, seed);
            let (few, many) = (share(NIGHTS, &cell), share(10 * NIGHTS, &cell));
            writeln!(out, "{:28} {n:8} {few:12.2} {many:12.2}", format!("AR {phi}"))?;
        }
    }
    for runs in [5, 10] {
        let cell = |seed| timing_effect(&mut Source::new(seed), runs, seed);
        let name = format!("medians, {runs} runs of 15");
        writeln!(out, "{name:28} {runs:8} {:12.2} {:>12}", share(NIGHTS, &cell), "")?;
    }
    Ok(())
}

fn power(out: &mut impl Write) -> std::io::Result<()> {
    let (change, alpha) = (1.005_f64.ln(), FAMILY_ALPHA / CELLS as f64);
    writeln!(out, "\nPower: perplexity 0.5 % worse in one cell of {CELLS}, tolerance 0, AR 0.2")?;
    writeln!(
        out,
        "{:28} {:>8} {:>8} {:>22}",
        "pairs", "windows", "power", "windows for power 0.9"
    )?;
    for (name, deviation) in DEMO_DEVIATIONS {
        let run = |n: usize, seed: u64| {
            let values: Vec<f64> = Source::new(seed)
                .series(n, 0.2, None)
                .iter()
                .map(|v| DEMO_TOKENS * (deviation * v + change))
                .collect();
            let bootstrap = bootstrap(seed, n);
            let effect = difference(&values, &vec![DEMO_TOKENS; n], None, &bootstrap);
            Effect { scale: Scale::LogRatio, baseline: 1.5, ..effect.expect("paired") }
        };
        let needed = |n: usize| {
            let mut needed: Vec<usize> = (0..99)
                .filter_map(|seed| windows_needed(&run(n, seed), change, 0.0, alpha, 0.9))
                .collect();
            needed.sort_unstable();
            needed[needed.len() / 2]
        };
        let wanted = needed(DEMO_WINDOWS);
        for n in [32, 64, DEMO_WINDOWS, wanted] {
            let found =
                (0..1_000_u64).into_par_iter().filter(|&seed| run(n, seed).p_above(0.0) <= alpha);
            let share = found.count() as f64 / 1e3;
            writeln!(out, "{name:28} {n:8} {share:8.3} {wanted:22}")?;
        }
    }
    Ok(())
}

fn speed(out: &mut impl Write) -> std::io::Result<()> {
    let start = Instant::now();
    for cell in 0..24_u64 {
        let values = Source::new(cell).series(512, 0.3, None);
        let bootstrap = Bootstrap::new(cell, 512);
        for _ in 0..3 {
            difference(&values, &[DEMO_TOKENS; 512], None, &bootstrap).expect("paired");
        }
    }
    writeln!(
        out,
        "\n24 cells x 3 metrics, 512 windows, 10,000 resamples: {:.2?}",
        start.elapsed()
    )?;
    let start = Instant::now();
    for seed in 0..24 {
        let full = Bootstrap::new(seed, 10);
        let runs: Vec<Vec<f64>> = (0..10)
            .map(|_| Source::new(seed).series(15, 0.0, None).iter().map(|v| v.exp()).collect())
            .collect();
        ratio_of_medians(&runs, &runs, &full).expect("timings");
    }
    writeln!(out, "24 ratios of medians, 10 runs of 15, 10,000 resamples: {:.2?}", start.elapsed())
}

fn main() -> std::io::Result<()> {
    let out = &mut std::io::stdout().lock();
    coverage(out)?;
    false_alarms(out)?;
    power(out)?;
    speed(out)
}
