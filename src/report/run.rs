//! A run's folder as one document: what was scored, what devices measured, and the figures of both.

use super::{Document, Fact, Value, devices};
use crate::compare::summary::Summary;
use crate::error::Result;
use crate::results::RunFolder;
use crate::results::measurement::Measurement;

/// The document of a folder: scored variants, packages measured on devices, or both.
///
/// # Errors
/// Input errors: the records do not say what was run.
pub fn document(run: &RunFolder) -> Result<Document> {
    let mut document = if run.index.records().is_empty() {
        devices::document(&run.measured)
    } else {
        with_devices(&Summary::of(run)?, &run.measured)
    };
    let hash = Value::Hash(run.hash.clone());
    document.facts.push(Fact::new("records_hash", "records hash", hash).detail());
    Ok(document)
}

/// The document of variants that were scored, and may have been measured.
pub fn with_devices(summary: &Summary, measured: &[Measurement]) -> Document {
    let mut document = summary.document();
    document.tables.extend(devices::tables(measured));
    document.notes.extend(devices::notes(measured));
    document.figures.extend(devices::figures(measured, Some(summary)));
    document
}
