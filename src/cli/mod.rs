//! The command line: parses arguments, prints tables and messages, returns exit codes.
//!
//! Data goes to stdout, messages go to stderr, all by way of [`output`]. Each command has a file of its
//! own, and commands never import one another.

// Help texts are doc comments written for terminals: their brackets are not links of rustdoc.
#![allow(rustdoc::broken_intra_doc_links, rustdoc::invalid_html_tags)]

mod args;
mod baseline;
mod bench;
mod calibrate;
mod check;
mod design;
mod devices;
mod help;
mod inspect;
mod measure_args;
mod output;
mod package;
mod perplexity;
mod quantize;
mod report;
mod reporter;
mod runner;
mod sweep;
mod sweep_tables;
mod verify;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::error::{Error, Exit, Result};
use reporter::Reporter;

/// Compare quantized variants of a language model with the original, and ship the best one
///
/// `evalkit sweep` without flags scores the built-in demo. Documentation: docs/README.md.
#[derive(Debug, Parser)]
#[command(
    name = "evalkit",
    version,
    max_term_width = 100,
    after_help = EXIT_CODES,
    after_long_help = help::after(
        &[
            "evalkit sweep    # scores the built-in demo",
            "evalkit sweep -m MODEL -t TEXT --bits 4,2 --calibrate OTHER_TEXT",
        ],
        &[EXIT_CODES],
    )
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Threads [default: all cores]
    ///
    /// Results do not depend on it.
    #[arg(long, global = true, value_name = "N", help_heading = help::GLOBAL)]
    threads: Option<usize>,
    /// Print nothing on stderr but errors
    #[arg(long, short, global = true, help_heading = help::GLOBAL)]
    quiet: bool,
}

const EXIT_CODES: &str = "Exit codes: 0 done; 1 a check failed (regression, failed variant, wrong packages or device); \
2 bad arguments or input; 3 external failure (disk, network, device); 4 too little data; \
130 interrupted (run the same command again to resume); 101 a bug";

/// The commands, in the order of work.
#[derive(Debug, Subcommand)]
enum Command {
    /// Compare bit-widths and recipes with the model as it is stored
    ///
    /// Scores every variant against the reference (the model as it is stored). Records, plan and pages
    /// go to a folder under --reports. The same command again measures only what is missing.
    Sweep(sweep::SweepArgs),
    /// Score a model as it is stored, or under recipes
    ///
    /// Like sweep, but without --recipes, --bits, --ablate or --plan it scores only the reference.
    Perplexity(perplexity::PerplexityArgs),
    /// Show structure, and size at each bit-width, from headers alone
    Inspect(inspect::InspectArgs),
    /// Save statistics of layer inputs, to calibrate recipes of any width
    ///
    /// Runs a text once and saves the second moments of each layer's inputs. sweep and quantize take the
    /// file with --calibration, for -cal-norep recipes.
    Calibrate(calibrate::CalibrateArgs),
    /// Quantize the weights by one recipe and write them to a file
    Quantize(quantize::QuantizeArgs),
    /// Write Core ML packages of a checkpoint under one recipe
    Package(package::PackageArgs),
    /// Check that packages are the checkpoint under their recipe
    Verify(verify::VerifyArgs),
    /// List devices and whether a runner answers; install the runner
    Devices(devices::DevicesArgs),
    /// Measure packages on devices: load, first token, speed, memory
    Bench(bench::BenchArgs),
    /// Let other machines measure packages on this one
    Runner(runner::RunnerArgs),
    /// Show a run, compare two, check claims, update tables in files
    Report(report::ReportArgs),
    /// Compare a run with a baseline: did anything get worse?
    Check(check::CheckArgs),
    /// Accept runs as baselines, and list them
    Baseline(baseline::BaselineArgs),
    /// Print shell completions
    #[command(after_long_help = help::after(
        &[
            "evalkit completions bash > ~/.local/share/bash-completion/completions/evalkit",
            "evalkit completions zsh > ~/.zfunc/_evalkit",
        ],
        &[],
    ))]
    Completions {
        /// The shell to complete in
        shell: clap_complete::Shell,
    },
}

/// Runs the command line `args`, the program's name first.
pub fn run(args: impl IntoIterator<Item = std::ffi::OsString>) -> Exit {
    let args: Vec<std::ffi::OsString> = args.into_iter().collect();
    if cfg!(feature = "metal") && std::env::var_os(crate::model::FAST_MATH).is_none() {
        restart_without_fast_math(&args);
    }
    let command = help::with_negative_numbers(Cli::command());
    let parsed = command.try_get_matches_from(args).and_then(|m| Cli::from_arg_matches(&m));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            let exit = if error.use_stderr() { Exit::Input } else { Exit::Done };
            return output::clap(&error).map_or_else(|error| error.exit(), |()| exit);
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

/// Starts this program again, in this process, with Metal's fast math off: candle reads that from the
/// environment, which a running program cannot change safely. Returns only if that fails; the device
/// is then refused, and the message says what to set.
fn restart_without_fast_math(args: &[std::ffi::OsString]) {
    use std::os::unix::process::CommandExt as _;
    if let Ok(program) = std::env::current_exe() {
        let rest = args.iter().skip(1);
        let _ =
            std::process::Command::new(program).args(rest).env(crate::model::FAST_MATH, "0").exec();
    }
}

fn dispatch(command: Command, reporter: &Reporter) -> Result<Exit> {
    match command {
        Command::Sweep(args) => sweep::run(&args, reporter),
        Command::Perplexity(args) => perplexity::run(&args, reporter),
        Command::Inspect(args) => inspect::run(&args, reporter),
        Command::Calibrate(args) => calibrate::run(&args, reporter),
        Command::Quantize(args) => quantize::run(&args, reporter),
        Command::Package(args) => package::run(&args, reporter),
        Command::Verify(args) => verify::run(&args, reporter),
        Command::Devices(args) => devices::run(&args, reporter),
        Command::Bench(args) => bench::run(&args, reporter),
        Command::Runner(args) => runner::run(&args, reporter),
        Command::Report(args) => report::run(&args, reporter),
        Command::Check(args) => check::run(&args, reporter),
        Command::Baseline(args) => baseline::run(&args, reporter),
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "evalkit", &mut text);
            output::data(&text)?;
            Ok(Exit::Done)
        }
    }
}

/// Upper limit of `--threads`: a larger number is a typing error.
const MAX_THREADS: usize = 1024;

fn start_threads(threads: Option<usize>) -> Result<()> {
    // 0 lets rayon take all cores.
    let count = threads.unwrap_or(0);
    if count > MAX_THREADS || threads == Some(0) {
        return Err(Error::input(format!("--threads: expected 1 to {MAX_THREADS}, found {count}")));
    }
    rayon::ThreadPoolBuilder::new()
        .num_threads(count)
        .build_global()
        .map_err(|e| Error::surroundings("cannot start threads").because(e))
}
