//! What `--dry-run` of a sweep shows: the planned work, the memory that it takes, sizes of packages.

use super::super::job::Job;
use super::super::package::{PackageOptions, planned};
use crate::error::Result;
use crate::eval::MemorySum;
use crate::report::{Column, Document, Fact, Table, Unit, Value};

/// The planned work of a sweep, with the sizes of its packages if they are asked for.
///
/// # Errors
/// Input errors of options that no package can have.
pub fn document(job: &Job, packages: Option<&PackageOptions>) -> Result<Document> {
    let mut document = work(job);
    if let Some(packages) = packages {
        document.tables.push(package_sizes(job, packages)?);
    }
    Ok(document)
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
fn work(job: &Job) -> Document {
    let run = &job.run;
    let mut table = Table {
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
            table.rows.push(vec![
                Value::from(cell.label()),
                Value::from(part.part.as_str()),
                Value::from(part.recipe.as_str()),
                Value::from(part.weights),
                Value::from(part.size_bytes),
            ]);
        }
    }
    let mut tables = vec![table];
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
