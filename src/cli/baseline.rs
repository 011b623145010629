//! `evalkit baseline`: accepts runs as baselines of later ones, and lists them.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::args::FormatArgs;
use super::help;
use super::output::print;
use super::reporter::Reporter;
use crate::error::{Error, Exit, Result};
use crate::report::accepted;
use crate::results::baselines;
use crate::results::runs::only_run;
use crate::results::{Cell, RunFolder};

/// Arguments of `evalkit baseline`.
#[derive(Debug, Args)]
pub struct BaselineArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Keep a run as the baseline of its model, text and protocol
    #[command(after_long_help = help::after(
        &[
            "evalkit baseline accept reports/2027-01-02-demo-1a2b3c4d",
            "evalkit baseline accept reports/2027-01-02-demo-1a2b3c4d --store baselines",
        ],
        &[],
    ))]
    Accept {
        /// The run's folder, such as reports/<run>
        ///
        /// Or a folder that contains only this run.
        run: PathBuf,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// List the accepted baselines
    #[command(after_long_help = help::after(
        &["evalkit baseline list", "evalkit baseline list --store baselines --format json"],
        &[],
    ))]
    List {
        #[command(flatten)]
        store: StoreArgs,
        #[command(flatten)]
        format: FormatArgs,
    },
}

#[derive(Debug, Args)]
struct StoreArgs {
    /// Store of accepted baselines
    ///
    /// Small enough for version control.
    #[arg(long = "store", value_name = "DIR", default_value = baselines::DEFAULT)]
    folder: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// Input errors of run and store, surroundings errors of a store that cannot be written.
pub fn run(args: &BaselineArgs, reporter: &Reporter) -> Result<Exit> {
    match &args.what {
        What::Accept { run, store } => {
            let folder = only_run(run)?;
            let run = RunFolder::read_sums(&folder)?;
            run.check_whole()?;
            check_finished(&folder, &run, reporter)?;
            let accepted = baselines::accept(&store.folder, &folder, &run)?;
            let kept = store.folder.join(&accepted.question);
            reporter.say(format!("accepted {} as {}", accepted.run, kept.display()));
        }
        What::List { store, format } => {
            if !store.folder.join(baselines::STORE).exists() {
                return Err(Error::input("expected a store of accepted baselines, found none")
                    .at(store.folder.display())
                    .hint("accept a run with: evalkit baseline accept reports/<run>"));
            }
            print(format.format, &accepted::document(&baselines::list(&store.folder)?))?;
        }
    }
    Ok(Exit::Done)
}

/// Refuses an unfinished run, and reports failures, which are accepted with the run.
fn check_finished(folder: &Path, run: &RunFolder, reporter: &Reporter) -> Result<()> {
    let index = &run.index;
    let is_open =
        |cell: &&Cell| !index.is_done(&cell.cell_id) && index.failure_of(&cell.cell_id).is_none();
    let open: Vec<String> = index.cells().filter(is_open).map(Cell::label).collect();
    if !open.is_empty() {
        let what = format!("the run is not finished: {}", open.join(", "));
        return Err(Error::input(what)
            .at(folder.display())
            .hint("finish it by running the same command again, then accept it"));
    }
    for cell in index.cells() {
        if let Some(failure) = index.failure_of(&cell.cell_id) {
            reporter.say(format!(
                "{} failed, and the baseline keeps this failure: {}",
                cell.label(),
                failure.cause
            ));
        }
    }
    Ok(())
}
