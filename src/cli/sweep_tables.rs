//! What `sweep` and `perplexity` print: the planned work with `--dry-run`, otherwise the results.

use super::args::RunArgs;
use super::output::print;
use super::reporter::Reporter;
use crate::error::{Exit, Result};
use crate::report::{Format, render, run as run_page};
use crate::run::documents::{allocation, planned};
use crate::run::pages;
use crate::run::plan::Plan;
use crate::run::sweep::{self, AfterScoring, Prepared};

/// Width of the table of an allocation, in characters.
const ALLOCATION_WIDTH: usize = 100;

/// Measures what is missing of `plan`, prints the table and writes the pages next to the records. The
/// exit is [`Exit::No`] if a variant failed, its packages are not the model that was scored, or a
/// device computes another model.
///
/// # Errors
/// Those of the checkpoint, the text and the store.
pub fn sweep(
    plan: Plan,
    args: &RunArgs,
    after: &AfterScoring,
    format: Format,
    reporter: &Reporter,
) -> Result<Exit> {
    reporter.listen()?;
    let options = args.options();
    if !args.dry_run {
        // Allocating bits may take long; a sweep that only scores looks again right away.
        after.find_devices(reporter)?;
    }
    let Prepared { job, allocation: chosen } =
        sweep::prepare(plan, &options, args.dry_run, reporter)?;
    if let Some(chosen) = &chosen {
        let table = render(Format::Terminal, &allocation::document(chosen), ALLOCATION_WIDTH)?;
        reporter.show(table.trim_end());
    }
    if args.dry_run {
        print(format, &planned::document(&job, after.packages.as_ref())?)?;
        return Ok(Exit::Done);
    }
    let swept = sweep::run(job, &options, after, reporter)?;
    print(format, &run_page::with_devices(&swept.summary, &swept.measured))?;
    // The pages are those of `evalkit report` and cover everything in the folder.
    pages::keep(&run_page::document(&swept.run)?, &swept.folder)?;
    if swept.was_done {
        reporter.say(format!("everything was already measured, in {}", swept.folder.display()));
    } else {
        reporter.say(format!("report: {}", swept.folder.join("report.html").display()));
    }
    Ok(swept.exit())
}
