//! The only room that talks to people: arguments in, tables and exit codes out.
//!
//! stdout is data, stderr is talk. Commands are one file each and never import one another.

// Help texts are doc comments, but for terminals: their brackets are not links.
#![allow(rustdoc::broken_intra_doc_links, rustdoc::invalid_html_tags)]

mod allocation_table;
mod args;
mod baseline;
mod bench;
mod calibrate;
mod check;
mod design;
mod device_fit_tables;
mod devices;
mod inspect;
mod measure_args;
mod package;
mod pages;
mod perplexity;
mod predicted;
mod quantize;
mod report;
mod reporter;
mod runner;
mod sweep;
mod sweep_tables;
mod verify;

use std::io::Write;

use clap::{CommandFactory, Parser, Subcommand};

use crate::error::{Error, Exit, Result};
use crate::report::{Document, Format};
use reporter::Reporter;

/// Which bit-width of this language model can ship, and is it still the model that was tested?
#[derive(Debug, Parser)]
#[command(name = "evalkit", version, max_term_width = 100, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Threads [default: all cores]; results do not depend on it
    #[arg(long, global = true, value_name = "N", help_heading = GLOBAL)]
    threads: Option<std::num::NonZeroUsize>,
    /// Say nothing on stderr but errors
    #[arg(long, short, global = true, help_heading = GLOBAL)]
    quiet: bool,
}

const GLOBAL: &str = "Every command";

const EXIT_CODES: &str = "Exit codes: 0 done · 1 the answer is no (a regression, a variant failed, packages are not the model, a device computes something else) · 2 bad arguments or input · \
3 surroundings failed (disk, network, no device) · 4 inconclusive: too little data · 130 interrupted, the same command goes on · 101 a bug";

#[derive(Debug, Subcommand)]
enum Command {
    /// Compare bit-widths of a model against it unquantized, in one pass over its weights
    Sweep(sweep::SweepArgs),
    /// Perplexity of a model as it is stored, or under recipes
    Perplexity(perplexity::PerplexityArgs),
    /// Collect second moments of a model's layers, by which recipes of any width are calibrated
    Calibrate(calibrate::CalibrateArgs),
    /// Code a checkpoint's weights under one recipe and write them to a file
    Quantize(quantize::QuantizeArgs),
    /// Write a checkpoint as Core ML packages under one recipe
    Package(package::PackageArgs),
    /// Prove that packages are the checkpoint and the recipe that they claim to be
    Verify(verify::VerifyArgs),
    /// Show a checkpoint's structure and its size at each bit-width, without reading weights
    Inspect(inspect::InspectArgs),
    /// Measure packages on devices: load time, time to first token, speed, memory, heat
    Bench(bench::BenchArgs),
    /// Hold a run against a baseline, every metric at once: did anything get worse?
    Check(check::CheckArgs),
    /// Accept runs as baselines, and list them
    Baseline(baseline::BaselineArgs),
    /// Make pages, release tables and verdicts on claims, from records alone
    Report(report::ReportArgs),
    /// Serve this machine as a runner of packages, as the app on a phone does
    Runner(runner::RunnerArgs),
    /// List phones, Macs and this machine, and whether a runner answers on them
    Devices(devices::DevicesArgs),
    /// Print shell completions
    Completions {
        /// The shell to complete in
        shell: clap_complete::Shell,
    },
}

/// Runs the command line `args`, the program's name first.
pub fn run(args: impl IntoIterator<Item = std::ffi::OsString>) -> Exit {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // clap prints help to stdout and mistakes to stderr.
            let _ = error.print();
            return if error.use_stderr() { Exit::Input } else { Exit::Done };
        }
    };
    let reporter = Reporter::new(cli.quiet);
    match start_threads(cli.threads).and_then(|()| dispatch(cli.command, &reporter)) {
        Ok(exit) => exit,
        Err(error) => {
            reporter.error(&error);
            error.exit()
        }
    }
}

fn dispatch(command: Command, reporter: &Reporter) -> Result<Exit> {
    match command {
        Command::Sweep(args) => sweep::run(&args, reporter),
        Command::Perplexity(args) => perplexity::run(&args, reporter),
        Command::Calibrate(args) => calibrate::run(&args, reporter),
        Command::Quantize(args) => quantize::run(&args, reporter),
        Command::Package(args) => package::run(&args, reporter),
        Command::Verify(args) => verify::run(&args, reporter),
        Command::Inspect(args) => inspect::run(&args, reporter),
        Command::Bench(args) => bench::run(&args, reporter),
        Command::Check(args) => check::run(&args, reporter),
        Command::Baseline(args) => baseline::run(&args, reporter),
        Command::Report(args) => report::run(&args, reporter),
        Command::Runner(args) => runner::run(&args, reporter),
        Command::Devices(args) => devices::run(&args, reporter),
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "evalkit", &mut text);
            write_stdout(&text)?;
            Ok(Exit::Done)
        }
    }
}

/// More threads than any machine that this runs on has.
const MAX_THREADS: usize = 1024;

fn start_threads(threads: Option<std::num::NonZeroUsize>) -> Result<()> {
    let count = threads.map_or(0, std::num::NonZeroUsize::get);
    if count > MAX_THREADS {
        return Err(Error::input(format!("--threads: expected 1 to {MAX_THREADS}, found {count}")));
    }
    rayon::ThreadPoolBuilder::new()
        .num_threads(count)
        .build_global()
        .map_err(|e| Error::surroundings("cannot start threads").because(e))
}

/// Width of tables where stdout is no terminal, in characters: logs scroll sideways.
const OFF_TERMINAL_WIDTH: usize = 120;

/// Prints a document as data.
fn print(format: Format, document: &Document) -> Result<()> {
    let width = terminal_size::terminal_size()
        .map_or(OFF_TERMINAL_WIDTH, |(width, _)| usize::from(width.0));
    let text = crate::report::render(format, document, width)?;
    write_stdout(text.as_bytes())
}

/// Writes to stdout; a reader that has closed the pipe has seen enough.
fn write_stdout(bytes: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|e| Error::surroundings("cannot write to stdout").because(e)),
    }
}
