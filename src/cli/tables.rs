//! From a plan to a printed table: what every command that measures does.

use super::allocation;
use super::args::RunArgs;
use super::design::DesignArgs;
use super::job::{Job, Opened};
use super::measure::{Finished, execute};
use super::measuring::{MeasureArgs, Setting, targets, verdict};
use super::packaging::{package_all, planned, proven};
use super::plan::Plan;
use super::progress::{Interrupt, Talk};
use super::{pages, print, source};
use crate::compare::summary::Summary;
use crate::device::client::Target;
use crate::error::{Exit, Result};
use crate::eval::MemorySum;
use crate::report::{Column, Document, Fact, Format, Table, Unit, Value, run};
use crate::results::measurement::{Measurement, Subject};
use crate::results::{Record, RunFolder};

/// What is done with variants after they were scored.
#[derive(Clone, Copy, Default)]
pub struct Also<'a> {
    /// Packages that are written; nothing where none are.
    pub design: Option<&'a DesignArgs>,
    /// Devices that these are measured on.
    pub devices: &'a [Target],
    /// How; nothing where nothing is measured.
    pub how: Option<&'a MeasureArgs>,
}

/// Measures what `plan` asks for and is not measured yet, prints the table and keeps it beside the
/// records; then does what `also` asks for. Answers no when a variant failed, its packages are not the
/// model that was scored, or a device computes another.
///
/// # Errors
/// Those of the checkpoint, the text and the store.
pub fn measure(
    plan: Plan,
    args: &RunArgs,
    also: Also<'_>,
    format: Format,
    talk: Talk,
) -> Result<Exit> {
    let interrupt = Interrupt::listen(talk)?;
    let opened = Opened::open(&plan, talk)?;
    let allocated = allocation::allocate(&plan, &opened, args, talk, &interrupt)?;
    let mut job = Job::prepare(plan, opened, allocated, args)?;
    if args.dry_run {
        let mut document = dry_run(&job);
        if let Some(design) = also.design {
            document.tables.push(planned(&job, design)?);
        }
        print(format, &document)?;
        return Ok(Exit::Done);
    }
    let mut finished = execute(&mut job, &args.reports, also.design.is_some(), talk, &interrupt)?;
    if let Some(design) = also.design {
        package_all(&job, &mut finished, design, talk, &interrupt)?;
    }
    if let Some(how) = also.how {
        on_devices(&job, &finished, also.devices, how, talk, &interrupt)?;
    }
    let asked = asked_records(&finished);
    let folder = RunFolder::read(&finished.folder)?;
    let summary = Summary::from_records(&asked, job.plan.seed)?.timed(&folder.coding);
    let asked = folder.measured.iter().filter(|one| is_asked(one, &finished)).cloned();
    let asked: Vec<Measurement> = asked.collect();
    print(format, &run::with_devices(&summary, &asked))?;
    // The pages are those that `evalkit report` makes of the folder: of all that is in it.
    pages::keep(&run::document(&folder)?, &finished.folder)?;
    if finished.was_done {
        talk.say(format!("everything was already measured, in {}", finished.folder.display()));
    } else {
        talk.say(format!("report: {}", finished.folder.join("report.html").display()));
    }
    let failed = summary.rows.iter().any(|row| row.outcome.is_err())
        || summary.packages.iter().any(|of| of.packaged.broken().is_some());
    Ok(match (failed, also.how) {
        (true, _) => Exit::No,
        (false, Some(_)) => verdict(&asked),
        (false, None) => Exit::Done,
    })
}

/// Measures on devices what was packaged and proven.
fn on_devices(
    job: &Job,
    finished: &Finished,
    devices: &[Target],
    how: &MeasureArgs,
    talk: Talk,
    interrupt: &Interrupt,
) -> Result<()> {
    let folders = proven(job, finished);
    let window = job.windows.first().map_or(&[][..], |window| &window.ids);
    let text = |tokens: usize, vocabulary: usize| {
        Ok(match window.get(..tokens) {
            Some(ids) => ids.to_vec(),
            None => source::spread(tokens, vocabulary),
        })
    };
    let setting = Setting { args: how, targets: &targets(devices)?, text: &text, talk, interrupt };
    setting.measure(&finished.folder, &folders).map(|_| ())
}

/// Whether a measurement is of a cell that was asked for, or of none.
fn is_asked(one: &Measurement, finished: &Finished) -> bool {
    match one {
        Measurement::Subject(Subject { cell_id: Some(id), .. }) => finished.asked.contains(id),
        _ => true,
    }
}

/// The records of the cells that were asked for; a folder may hold others from earlier plans.
fn asked_records(finished: &Finished) -> Vec<Record> {
    let is_asked = |record: &&Record| {
        record.cell_id().is_none_or(|id| finished.asked.iter().any(|asked| asked == id))
    };
    finished.records.iter().filter(is_asked).cloned().collect()
}

/// The work and its memory, without doing any of it.
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
        title: format!("{}: what a sweep would do", run.model),
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

/// A sum of memory, item by item.
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
