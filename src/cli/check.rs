//! `evalkit check`: compares a run with a baseline, and shows the history of runs.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use super::args::FormatArgs;
use super::help;
use super::output::{self, print};
use super::reporter::Reporter;
use crate::compare::Tolerances;
use crate::compare::check::{Checked, History, Night, check, is_same_question};
use crate::error::{Error, Exit, Result};
use crate::files::write_together;
use crate::report::check::{annotations, document, history, junit};
use crate::report::{self, Format};
use crate::results::RunFolder;
use crate::results::baselines;
use crate::results::runs::{is_run, only_run, runs_in};
use crate::run::plan_file::{kept_limits, limits};
use crate::run::score::PLAN;
use crate::run::tolerances::{Limits, tolerances};
use crate::units::counted;

/// Arguments of `evalkit check`.
#[derive(Debug, Args)]
#[command(after_long_help = help::after(
    &[
        "evalkit check reports/2027-01-02-demo-1a2b3c4d",
        "evalkit check tonight --baseline baselines --tolerance kl=1% --out check",
    ],
    &[],
))]
pub struct CheckArgs {
    /// The run to check [default: the latest in --reports]
    ///
    /// Its folder, or a folder that contains only this run.
    run: Option<PathBuf>,
    /// A run's folder, or a store of accepted baselines
    #[arg(long, value_name = "DIR", default_value = baselines::DEFAULT)]
    baseline: PathBuf,
    /// Plan with tolerances under [check] [default: the run's own]
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// A tolerance, such as perplexity=0.5% or kl=0.001
    ///
    /// Overrides the plan. May be given several times. Keys: perplexity, kl, top1, size, decode, ttft, load, memory.
    /// Two limits: "kl=2% or 0.00001"; the larger counts.
    #[arg(long, value_name = "KEY=LIMIT", value_parser = parse_limit)]
    tolerance: Vec<(String, String)>,
    /// Write JUnit XML to this file
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write the page in every format, and junit.xml, into this folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Show each metric over the last runs, with changes marked
    #[arg(long, conflicts_with_all = ["junit", "out", "tolerance"])]
    history: bool,
    /// Number of runs that --history shows
    #[arg(long, value_name = "RUNS", default_value = "30", requires = "history")]
    last: std::num::NonZeroUsize,
    /// Folder of runs
    ///
    /// Holds <DIR>/<run> or <DIR>/<night>/<run>.
    #[arg(long, value_name = "DIR", default_value = "reports")]
    reports: PathBuf,
    #[command(flatten)]
    format: FormatArgs,
}

/// The pages that `--out` writes, besides junit.xml.
const PAGES: [(&str, Format); 5] = [
    ("check.txt", Format::Terminal),
    ("check.md", Format::Markdown),
    ("check.html", Format::Html),
    ("check.csv", Format::Csv),
    ("check.json", Format::Json),
];

/// Width of the terminal table that `--out` writes, in characters.
const KEPT_WIDTH: usize = 120;

/// Runs the command.
///
/// # Errors
/// Input errors of run, baseline, plan and tolerances; outputs that cannot be written.
pub fn run(args: &CheckArgs, reporter: &Reporter) -> Result<Exit> {
    let folder = match &args.run {
        Some(path) => only_run(path)?,
        None => latest(&args.reports, reporter)?,
    };
    let now = RunFolder::read_sums(&folder)?;
    if args.history {
        return show_history(args, &now, reporter);
    }
    let tolerances = resolve(args, &folder)?;
    let against = baseline(&args.baseline, &now)?;
    let then = RunFolder::read_sums(&against)?;
    let seed = now.index.run().map_or(0, |run| run.seed);
    let checked = check(&now, &then, &tolerances, seed);
    if checked.rows.is_empty() {
        return Err(Error::input("the baseline has no results to compare with")
            .at(against.display())
            .hint("name a run that scored variants or measured packages"));
    }
    write_files(args, &checked)?;
    print(args.format.format, &document(&checked, args.format.format))?;
    tell_github(&checked)?;
    Ok(checked.exit())
}

/// The baseline's folder: a run, the only run in a folder, or the run that a store holds for the
/// model, text and protocol of `now`.
fn baseline(path: &Path, now: &RunFolder) -> Result<PathBuf> {
    let holds_runs = path.is_dir() && !runs_in(path).is_empty();
    if is_run(path) || holds_runs { only_run(path) } else { baselines::find(path, now) }
}

/// The latest run in `reports`.
fn latest(reports: &Path, reporter: &Reporter) -> Result<PathBuf> {
    let found = runs_in(reports).pop().ok_or_else(|| {
        Error::input("no run was found")
            .at(reports.display())
            .hint("measure one with evalkit sweep")
    })?;
    reporter.say(format!("checking {}", found.display()));
    Ok(found)
}

/// The tolerances of `--plan`, or else of the run's own plan; flags override them.
fn resolve(args: &CheckArgs, folder: &Path) -> Result<Tolerances> {
    let own = folder.join(PLAN);
    let plan: Limits = match &args.plan {
        Some(path) => limits(path)?,
        None if own.exists() => kept_limits(&own)?,
        None => Limits::new(),
    };
    tolerances(&plan, &args.tolerance)
}

/// Writes the files of `--junit` and `--out`: all files of a folder, or none.
fn write_files(args: &CheckArgs, checked: &Checked) -> Result<()> {
    let xml = junit(checked)?.into_bytes();
    if let Some(path) = &args.junit {
        let name = path.file_name().ok_or_else(|| {
            Error::input("expected the name of a file").at(path.display()).at("--junit")
        })?;
        if path.is_dir() {
            let what = "expected a file, found a folder";
            return Err(Error::input(what).at(path.display()).at("--junit"));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let files = [(&*name.to_string_lossy(), xml.clone())];
        write_together(folder.unwrap_or(Path::new(".")), &files)?;
    }
    let Some(folder) = &args.out else { return Ok(()) };
    let page = |(name, format): (&'static str, Format)| {
        let text = report::render(format, &document(checked, format), KEPT_WIDTH)?;
        Ok((name, text.into_bytes()))
    };
    let mut files = PAGES.into_iter().map(page).collect::<Result<Vec<_>>>()?;
    files.push(("junit.xml", xml));
    write_together(folder, &files)
}

/// On GitHub Actions: prints annotations, which may go to stderr, and adds to the step's summary.
fn tell_github(checked: &Checked) -> Result<()> {
    if std::env::var("GITHUB_ACTIONS").is_ok_and(|value| value == "true") {
        for line in annotations(checked) {
            output::command(&line);
        }
    }
    let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) else {
        return Ok(());
    };
    let path = Path::new(&path);
    let page = report::render(Format::Markdown, &document(checked, Format::Markdown), 0)?;
    // Other steps write there too.
    let file = std::fs::File::options().append(true).create(true).open(path);
    file.and_then(|mut file| file.write_all(page.as_bytes()))
        .map_err(|e| Error::io("write the step's summary to", path, e))
}

/// Shows the runs with the model, text, length and protocol of `now` over time.
fn show_history(args: &CheckArgs, now: &RunFolder, reporter: &Reporter) -> Result<Exit> {
    let question = baselines::question(now);
    let mut nights: Vec<Night> = Vec::new();
    let mut others = 0;
    // The latest come first, so that reading stops when enough are found.
    for folder in runs_in(&args.reports).into_iter().rev() {
        if nights.len() == args.last.get() {
            break;
        }
        let run = RunFolder::read_sums(&folder)?;
        let differs = !is_same_question(now, &run);
        if differs {
            others += 1;
        } else {
            nights.push(Night::of(&run, now.index.run().map_or(0, |run| run.seed)));
        }
    }
    if nights.is_empty() {
        return Err(Error::input(format!("no run of {question} was found"))
            .at(args.reports.display())
            .hint("name the folder of all runs with --reports"));
    }
    if others > 0 {
        let skipped = counted(others, "run");
        reporter.say(format!("{skipped} skipped: another model, text, length or protocol"));
    }
    nights.reverse();
    let seed = now.index.run().map_or(0, |run| run.seed);
    let followed = History::of(nights, seed);
    print(args.format.format, &history(&followed, args.format.format))?;
    Ok(Exit::Done)
}

fn parse_limit(text: &str) -> Result<(String, String)> {
    let (key, limit) = text.split_once('=').ok_or_else(|| {
        Error::input(format!("expected a tolerance such as perplexity=0.5%, found {text:?}"))
    })?;
    Ok((key.trim().to_owned(), limit.trim().to_owned()))
}
