//! How long a check of large runs takes, and how much memory: two stores of 100,000 records each.
//!
//! `cargo bench --bench check` writes them (50 variants over 2,000 windows of 100 scored tokens, their
//! divergences included, 140 MB each), runs the program on both and prints seconds and peak memory;
//! it fails where a limit is missed. With a folder as argument the stores are kept there.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use evalkit::results::{Cell, Done, RECORDS, Record, Run, StoredPart, Window};

const VARIANTS: usize = 50;
const WINDOWS: usize = 2_000;
const TOKENS: usize = 100;
/// What a check of them may take.
const MAX_SECONDS: f64 = 2.0;
const MAX_MB: f64 = 300.0;
/// Repetitions, of which the fastest counts: the machine is not ours alone.
const REPETITIONS: usize = 5;

fn main() {
    let kept = std::env::args().nth(1).filter(|argument| !argument.starts_with('-'));
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = kept.map_or(scratch.path().to_owned(), PathBuf::from);
    let runs = [0, 1].map(|night| folder.join(format!("night{night}")));
    for (night, run) in (0..).zip(&runs) {
        write(run, night).expect("room for the stores");
    }
    let seen: Vec<Taken> = (0..REPETITIONS).map(|_| measure(&runs)).collect();
    let least = |of: fn(&Taken) -> f64| seen.iter().map(of).fold(f64::INFINITY, f64::min);
    let (seconds, cpu_seconds) = (least(|taken| taken.seconds), least(|taken| taken.cpu_seconds));
    let mb = seen.iter().map(|taken| taken.peak_mb).fold(0.0, f64::max);
    let records = 2 * (1 + 2 * VARIANTS + VARIANTS * WINDOWS);
    let told = format!(
        "check of {records} records: {seconds:.2} s ({cpu_seconds:.2} s of cores), peak memory \
         {mb:.0} MB\n"
    );
    std::io::stdout().write_all(told.as_bytes()).expect("stdout");
    assert!(seconds <= MAX_SECONDS, "more than {MAX_SECONDS} s");
    assert!(mb <= MAX_MB, "more than {MAX_MB} MB");
}

/// Writes a run whose windows differ a little from night to night.
fn write(folder: &Path, night: u64) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut out = std::io::BufWriter::new(std::fs::File::create(folder.join(RECORDS))?);
    let mut add = |record: &Record| {
        let line = record.to_line().map_err(std::io::Error::other)?;
        writeln!(out, "{line}")
    };
    let run = Run { model: "large".into(), windows: WINDOWS, ..Run::default() };
    add(&Record::Run(run))?;
    let id = |variant: usize| format!("{variant:016x}");
    for variant in 0..VARIANTS {
        let part =
            StoredPart { part: "blocks".into(), size_bytes: 1_000_000, ..StoredPart::default() };
        add(&Record::Cell(Cell {
            cell_id: id(variant),
            variant: format!("palette4-g{}", variant + 1),
            parts: vec![part],
            is_reference: variant == 0,
            ..Cell::default()
        }))?;
    }
    for window in 0..WINDOWS {
        for variant in 0..VARIANTS {
            add(&Record::Window(scores(id(variant), variant, window, night)))?;
        }
    }
    for variant in 0..VARIANTS {
        let done = Done { cell_id: id(variant), windows: WINDOWS, ..Done::default() };
        add(&Record::Done(done))?;
    }
    out.flush()
}

fn scores(cell_id: String, variant: usize, window: usize, night: u64) -> Window {
    let wave = |step: f64| (window as f64 * step + variant as f64 * 0.37).fract();
    let noise = 0.01 * night as f64 * (wave(0.754_877_666) - 0.5);
    let kl = 0.01 * variant as f64 * (0.9 + 0.2 * wave(0.569_840_291));
    Window {
        cell_id,
        window,
        scored_tokens: TOKENS,
        scored_bytes: 400,
        nll_nats: TOKENS as f64 * (2.0 + wave(0.618_033_989) + 0.01 * variant as f64 + noise),
        kl_nats: TOKENS as f64 * (kl + 0.01 * noise),
        top1_agree: TOKENS - variant,
        kl_tokens: (0..TOKENS).map(|token| (kl * token as f64 / 50.0) as f32).collect(),
        ..Window::default()
    }
}

/// What a check took.
struct Taken {
    seconds: f64,
    /// Of all cores together.
    cpu_seconds: f64,
    peak_mb: f64,
}

/// Runs a check.
fn measure([then, now]: &[PathBuf; 2]) -> Taken {
    let clock = Instant::now();
    let mut command = Command::new("/usr/bin/time");
    command.args(["-f", "took %U %S %M", env!("CARGO_BIN_EXE_evalkit"), "check"]);
    command.arg(now).arg("--baseline").arg(then).args(["--format", "json", "-q"]);
    let output = command.stdout(Stdio::null()).output().expect("GNU time");
    let seconds = clock.elapsed().as_secs_f64();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let took = told.lines().find_map(|line| line.strip_prefix("took "));
    let numbers = took.into_iter().flat_map(|took| took.split(' '));
    let numbers: Vec<f64> = numbers.filter_map(|number| number.parse().ok()).collect();
    let [user, system, peak_kb] = numbers[..] else { panic!("{told}") };
    Taken { seconds, cpu_seconds: user + system, peak_mb: peak_kb * 1024.0 / 1e6 }
}
