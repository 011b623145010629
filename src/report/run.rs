//! A run's folder as one document: what was scored, what devices measured, and the figures of both.

use super::{Document, Fact, Value, devices};
use crate::compare::summary::Summary;
use crate::error::{Error, Result};
use crate::results::RunFolder;
use crate::results::measurement::Measurement;

/// The note of a condensed run.
const CONDENSED: &str = "This run is condensed: its records hold sums by window and quantiles by \
    variant, no values per token.";

/// The document of a folder: scored variants, packages measured on devices, or both.
///
/// # Errors
/// Input errors: the records do not say what was run, or nothing is recorded yet.
pub fn document(run: &RunFolder) -> Result<Document> {
    if run.index.records().is_empty() && run.measured.is_empty() {
        return Err(Error::input("nothing was scored or measured yet: the run's files are empty")
            .hint("wait for the first results, or run the same command again"));
    }
    let mut document = if run.index.records().is_empty() {
        devices::document(&run.measured)
    } else {
        with_devices(&Summary::of(run)?, &run.measured)
    };
    document.warnings.splice(0..0, unsound(run));
    let hash = Value::Hash(run.hash.clone());
    document.facts.push(Fact::new("records_hash", "records hash", hash).detail());
    if run.is_condensed {
        document.notes.push(CONDENSED.to_owned());
    }
    Ok(document)
}

/// Why the numbers are not those of all windows that were asked for; empty if they are.
fn unsound(run: &RunFolder) -> Vec<String> {
    let lost = run.index.all_lost().into_iter();
    let lost = lost.map(|(variant, how)| format!("INVALID: {variant}: {how}"));
    let open = run.index.unfinished().map(|[windows, asked]| {
        format!(
            "not finished: {windows} of {asked} windows are scored, and the numbers rest on these"
        )
    });
    lost.chain(open).collect()
}

/// The document of scored variants, and of what devices measured of them.
pub fn with_devices(summary: &Summary, measured: &[Measurement]) -> Document {
    let mut document = summary.document();
    document.tables.extend(devices::tables(measured));
    document.notes.extend(devices::notes(measured));
    document.figures.extend(devices::figures(measured, Some(summary)));
    document
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::compare::condensed;
    use crate::report::release::{TableName, release};
    use crate::report::{Format, render};

    /// A run of the demo that a program of schema 1 wrote: 4 variants of 16 windows.
    const SCHEMA_1: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/records-schema-1");

    #[test]
    fn records_of_schema_1_are_read() {
        let run = RunFolder::read(Path::new(SCHEMA_1)).unwrap();
        assert_eq!(run.index.records().len(), 2 + 4 + 4 * 16 + 4);
        insta::assert_snapshot!(release(TableName::Ladder, &[run], None).unwrap().text);
    }

    #[test]
    fn a_condensed_run_has_the_same_reports_in_every_format() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("records-schema-1");
        let full = RunFolder::read(Path::new(SCHEMA_1)).unwrap();
        condensed(&full).unwrap().write(Path::new(SCHEMA_1), &path).unwrap();
        let size_bytes = path.join(crate::results::CONDENSED).metadata().unwrap().len();
        assert!(size_bytes < 4 * 16 * 75 + 8_000, "{size_bytes} bytes");
        let short = RunFolder::read(&path).unwrap();
        let ladder = |run: &RunFolder| {
            release(TableName::Ladder, std::slice::from_ref(run), None).unwrap().text
        };
        assert_eq!(ladder(&short), ladder(&full));
        let mut of_short = document(&short).unwrap();
        assert_eq!(of_short.notes.pop().as_deref(), Some(CONDENSED));
        for format in Format::ALL {
            let of_full = render(format, &document(&full).unwrap(), 120).unwrap();
            assert_eq!(render(format, &of_short, 120).unwrap(), of_full, "{format}");
        }
    }
}
