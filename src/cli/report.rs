//! `evalkit report`: pages, tables for other files, comparisons and checks of claims, from records.

use std::path::{Path, PathBuf};

use clap::Args;

use super::args::FormatArgs;
use super::help;
use super::output::print;
use super::reporter::Reporter;
use crate::compare::claims::{self, Claims};
use crate::compare::condensed;
use crate::error::{At, Error, Exit, Result};
use crate::files::{read_regular_text, write_atomic};
use crate::report::release::{Release, release};
use crate::report::splice::{TableSlot, slots, spliced};
use crate::report::{self, Document, run, versus};
use crate::results::runs::{only_run, runs_in};
use crate::results::{CONDENSED, MEASUREMENTS, RECORDS, RunFolder};
use crate::run::{pages, predicted};
use crate::units::counted;

/// A larger file of claims, or with places for tables, is refused.
const MAX_BYTES: u64 = 64 << 20;

/// Arguments of `evalkit report`.
#[derive(Debug, Args)]
#[command(after_long_help = help::after(
    &["evalkit report", "evalkit report first second --format markdown"],
    &[],
))]
pub struct ReportArgs {
    /// Runs, by folder or by name in --reports [default: the latest]
    ///
    /// One makes a page, two are compared.
    #[arg(value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Folder of runs
    #[arg(long, value_name = "DIR", default_value = "reports")]
    reports: PathBuf,
    /// Merge the runs: they measured other variants of one sweep
    #[arg(long, requires = "runs")]
    shards: bool,
    /// Write all five formats into this folder
    ///
    /// If one cannot be written, none is. Without --output one format goes to stdout.
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Write a smaller copy of the run into this folder
    ///
    /// Leaves out the values of each token, so that it can be committed. Its tables are the same.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["output", "claims", "shards"])]
    condense: Option<PathBuf>,
    /// Update the tables of runs in these files
    ///
    /// Between <!-- evalkit: reports/<run> ladder --> (or devices) and <!-- /evalkit -->, each on a line
    /// of its own. Paths are relative to the file. columns=variant,size at the end of the marker
    /// chooses columns.
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["runs", "output", "claims"])]
    splice: Vec<PathBuf>,
    /// Check that tables in these files match their records
    ///
    /// Exits with 1 if one does not match, mixes protocols, or lacks intervals.
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["runs", "output", "claims"])]
    verify: Vec<PathBuf>,
    /// Check a TOML file of claims against the runs
    ///
    /// And against the model configurations that it names.
    #[arg(long, value_name = "FILE")]
    claims: Option<PathBuf>,
    #[command(flatten)]
    format: FormatArgs,
}

/// Runs the command.
///
/// # Errors
/// Input errors of records, claims and markers; surroundings errors of files that are written.
pub fn run(args: &ReportArgs, reporter: &Reporter) -> Result<Exit> {
    if !(args.splice.is_empty() && args.verify.is_empty()) {
        args.splice.iter().try_for_each(|file| splice(file, reporter))?;
        let mut exit = Exit::Done;
        for file in &args.verify {
            exit = if verify(file, reporter)? { exit } else { Exit::No };
        }
        return Ok(exit);
    }
    let runs = args.read(reporter)?;
    if let Some(target) = &args.condense {
        return condense(args, &runs, target, reporter);
    }
    let (document, exit) = match &args.claims {
        Some(path) => held(path, &runs, reporter)?,
        None => (args.document(&runs)?, Exit::Done),
    };
    let exit = if runs.iter().all(|run| run.check_whole().is_ok()) { exit } else { Exit::No };
    match &args.output {
        Some(folder) => {
            pages::keep(&document, folder)?;
            reporter.say(format!("report: {}", folder.join("report.html").display()));
        }
        None => print(args.format.format, &document)?,
    }
    Ok(exit)
}

impl ReportArgs {
    /// The runs that are named; none if claims are checked against configurations alone.
    fn read(&self, reporter: &Reporter) -> Result<Vec<RunFolder>> {
        if self.runs.is_empty() && self.claims.is_some() {
            return Ok(Vec::new());
        }
        let folders = if self.runs.is_empty() {
            vec![last_run(&self.reports, reporter)?]
        } else {
            self.runs.iter().map(|run| run_below(&self.folder(run))).collect::<Result<_>>()?
        };
        for (at, folder) in folders.iter().enumerate() {
            let is_it = |other: &PathBuf| {
                folder.canonicalize().ok().is_some_and(|own| other.canonicalize().ok() == Some(own))
            };
            if folders[..at].iter().any(is_it) && self.shards {
                return Err(Error::input("this shard is given twice").at(folder.display()));
            }
        }
        if self.shards {
            return Ok(vec![RunFolder::read_shards(&folders)?]);
        }
        folders.iter().map(|folder| RunFolder::read(folder)).collect()
    }

    /// The folder of a run, given by path or by name in `--reports`.
    fn folder(&self, run: &Path) -> PathBuf {
        let named = self.reports.join(run);
        if !run.exists() && named.exists() { named } else { run.to_owned() }
    }

    fn document(&self, runs: &[RunFolder]) -> Result<Document> {
        match runs {
            [only] => run::document(only).at(|| only.name.clone()),
            [a, b] => versus::document(a, b),
            _ => Err(Error::input(format!("expected one run or two, found {}", runs.len()))
                .hint("--shards joins the shards of one run")),
        }
    }
}

/// The folder itself, or the only run below it if it holds none.
fn run_below(folder: &Path) -> Result<PathBuf> {
    if runs_in(folder).is_empty() { Ok(folder.to_owned()) } else { only_run(folder) }
}

/// The run that was written to last.
fn last_run(reports: &Path, reporter: &Reporter) -> Result<PathBuf> {
    let entries = std::fs::read_dir(reports).map_err(|e| {
        Error::io("read", reports, e).hint("name a run, or its folder with --reports")
    })?;
    let written = |folder: PathBuf| {
        let files =
            [RECORDS, CONDENSED, MEASUREMENTS].map(|name| folder.join(name).metadata().ok());
        let times = files.into_iter().flatten().filter_map(|file| file.modified().ok());
        times.max().map(|time| (time, folder))
    };
    let runs = entries.filter_map(|entry| written(entry.ok()?.path()));
    let (_, last) = runs.max().ok_or_else(|| {
        Error::input("there is no run in this folder")
            .at(reports.display())
            .hint("measure one with evalkit sweep")
    })?;
    reporter.say(format!("reporting {}", last.display()));
    Ok(last)
}

/// Checks every claim of a file against runs and configurations.
fn held(path: &Path, runs: &[RunFolder], reporter: &Reporter) -> Result<(Document, Exit)> {
    let text = read_regular_text("read", path, MAX_BYTES)?;
    let claims = Claims::parse(&text).at(|| path.display().to_string())?;
    let mut evidence = predicted::evidence(&claims, path, reporter)?;
    for run in runs {
        evidence.extend(claims::evidence(run)?);
    }
    let judged = claims::judge(&claims, &evidence);
    Ok((report::claims::document(&claims, &judged), claims::exit(&judged)))
}

/// Writes a run without its values per token.
fn condense(
    args: &ReportArgs,
    runs: &[RunFolder],
    target: &Path,
    reporter: &Reporter,
) -> Result<Exit> {
    let ([run], [path]) = (runs, &args.runs[..]) else {
        return Err(Error::input(format!(
            "expected one run to condense, found {}",
            args.runs.len()
        ))
        .hint("name the folder of the run: evalkit report RUN --condense DIR"));
    };
    condensed(run)?.write(&run_below(&args.folder(path))?, target)?;
    reporter.say(format!("condensed {} into {}", run.name, target.display()));
    run.check_whole().map(|()| Exit::Done)
}

/// A file with places for tables, and the tables that belong there.
struct Spliced {
    text: String,
    tables: Vec<(TableSlot, Release)>,
}

impl Spliced {
    fn read(path: &Path) -> Result<Spliced> {
        let text = read_regular_text("read", path, MAX_BYTES)?;
        let slots = slots(&text).at(|| path.display().to_string())?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let table = |slot: TableSlot| {
            let read = |run: &String| RunFolder::read(&run_below(&folder.join(run))?);
            let runs = slot.runs.iter().map(read).collect::<Result<Vec<_>>>();
            let made = runs.and_then(|runs| release(slot.table, &runs, slot.columns.as_deref()));
            let made = made.map_err(|e| e.at(format!("line {}", slot.line)).at(path.display()))?;
            Ok((slot, made))
        };
        Ok(Spliced { tables: slots.into_iter().map(table).collect::<Result<_>>()?, text })
    }
}

/// Updates every table of a file, or changes nothing.
fn splice(path: &Path, reporter: &Reporter) -> Result<()> {
    let Spliced { text, tables } = Spliced::read(path)?;
    for (slot, release) in &tables {
        if let Some(fault) = release.faults.first() {
            return Err(Error::new(Exit::No, format!("{}: {fault}", slot.name()))
                .at(format!("line {}", slot.line))
                .at(path.display())
                .hint("nothing was written, because such a table should not be published"));
        }
    }
    let count = counted(tables.len(), "table");
    let (slots, tables): (Vec<TableSlot>, Vec<String>) =
        tables.into_iter().map(|(slot, release)| (slot, release.text)).unzip();
    let new = spliced(&text, &slots, &tables);
    if new != text {
        write_atomic(path, new.as_bytes())?;
    }
    let outcome = if new == text { "unchanged" } else { "written" };
    reporter.say(format!("{}: {outcome}, {count}", path.display()));
    Ok(())
}

/// Whether every table of a file is that of its records and may be published.
fn verify(path: &Path, reporter: &Reporter) -> Result<bool> {
    let Spliced { text, tables } = Spliced::read(path)?;
    let mut holds = true;
    for (slot, release) in &tables {
        let is_old = slot.found(&text) != release.text;
        let old = is_old
            .then(|| "it differs from the table of its records; run report --splice".to_owned());
        for fault in release.faults.iter().cloned().chain(old) {
            holds = false;
            let (line, name) = (slot.line, slot.name());
            reporter.say(format!("{}: line {line}: {name}: {fault}", path.display()));
        }
    }
    if holds {
        let count = counted(tables.len(), "table");
        let agree = if tables.len() == 1 { "agrees with its" } else { "agree with their" };
        reporter.say(format!("{}: {count} {agree} records", path.display()));
    }
    Ok(holds)
}
