//! What `sweep` and `perplexity` print: the planned work with `--dry-run`, otherwise the results.

use super::args::RunArgs;
use super::reporter::Reporter;
use super::{allocation_table, pages, print};
use crate::error::{Exit, Result};
use crate::eval::MemorySum;
use crate::report::{Column, Document, Fact, Format, Table, Unit, Value, render, run as run_page};
use crate::run::job::Job;
use crate::run::package::{PackageOptions, planned};
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
    let Prepared { job, allocation } = sweep::prepare(plan, &options, args.dry_run, reporter)?;
    if let Some(allocation) = &allocation {
        let table =
            render(Format::Terminal, &allocation_table::document(allocation), ALLOCATION_WIDTH)?;
        reporter.say(table.trim_end());
    }
    if args.dry_run {
        let mut document = dry_run(&job);
        if let Some(packages) = &after.packages {
            document.tables.push(package_sizes(&job, packages)?);
        }
        print(format, &document)?;
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

/// The predicted size of every variant's packages, or why it cannot be packaged.
fn package_sizes(job: &Job, options: &PackageOptions) -> Result<Table> {
    let mut table = Table {
        title: "Packages, predicted".into(),
        columns: vec![
            Column::text("variant", "variant"),
            Column::number("size", "size", Unit::Bytes),
        ],
        ..Table::default()
    };
    for (cell, size) in planned(job, options)? {
        let size = match size {
            Ok(bytes) => Value::from(bytes),
            Err(error) => {
                table.notes.push(format!("{} cannot be packaged: {}", cell.label(), error.cause()));
                Value::Empty
            }
        };
        table.rows.push(vec![Value::from(cell.label()), size]);
    }
    Ok(table)
}

/// The planned work and the memory that it takes.
fn dry_run(job: &Job) -> Document {
    let run = &job.run;
    let mut work = Table {
        title: "Work".into(),
        columns: vec![
            Column::text("variant", "variant"),
            Column::text("part", "part"),
            Column::text("recipe", "recipe"),
            Column::number("weights", "weights", Unit::None),
            Column::number("size", "size", Unit::Bytes),
        ],
        ..Table::default()
    };
    for (cell, _) in &job.cells {
        for part in &cell.parts {
            work.rows.push(vec![
                Value::from(cell.label()),
                Value::from(part.part.as_str()),
                Value::from(part.recipe.as_str()),
                Value::from(part.weights),
                Value::from(part.size_bytes),
            ]);
        }
    }
    let mut tables = vec![work];
    if let Some(calibrating) = &job.calibrating {
        tables.push(memory("Peak memory while calibrating, predicted", calibrating));
    }
    tables.push(memory("Peak memory, predicted", &job.memory));
    Document {
        title: format!("{}: planned work", run.model),
        facts: vec![
            Fact::new("protocol", "Protocol", run.protocol.as_str()),
            Fact::new("windows", "Windows", run.windows),
            Fact::new("window_tokens", "Tokens per window", run.window_tokens),
            Fact::new("batch_windows", "Windows per pass", job.batch),
            Fact::new("passes", "Passes over the layers", run.windows.div_ceil(job.batch)),
        ],
        tables,
        ..Document::default()
    }
}

/// Memory by purpose, with the sum.
fn memory(title: &str, memory: &MemorySum) -> Table {
    let row = |(purpose, bytes): &(&'static str, u64)| vec![(*purpose).into(), (*bytes).into()];
    let sum = vec![Value::from("sum"), Value::from(memory.total_bytes())];
    Table {
        title: title.into(),
        columns: vec![
            Column::text("purpose", "purpose"),
            Column::number("size", "size", Unit::Bytes),
        ],
        rows: memory.items.iter().map(row).chain([sum]).collect(),
        ..Table::default()
    }
}
