//! A run's folder as one document: what was scored, what devices measured, and their pictures.

use super::{Document, Fact, Summary, Value, devices};
use crate::error::Result;
use crate::results::RunFolder;
use crate::results::measurement::Measurement;

/// The document of a folder: of variants that were scored, of packages that were measured, or both.
///
/// # Errors
/// Input errors: the folder says of nothing what was run.
pub fn document(run: &RunFolder) -> Result<Document> {
    let mut document = if run.index.records().is_empty() {
        devices::document(&run.measured)
    } else {
        with_devices(&summary(run)?, &run.measured)
    };
    let hash = Value::Hash(run.hash.clone());
    document.facts.push(Fact::new("records_hash", "records hash", hash).detail());
    Ok(document)
}

/// What was scored, with intervals from the run's own seed.
///
/// # Errors
/// Input errors: the records do not say what was run.
pub fn summary(run: &RunFolder) -> Result<Summary> {
    let seed = run.index.run().map_or(0, |run| run.seed);
    Ok(Summary::from_index(&run.index, seed)?.timed(&run.coding))
}

/// The document of variants that were scored, and may have been measured.
pub fn with_devices(summary: &Summary, measured: &[Measurement]) -> Document {
    let mut document = summary.document();
    document.tables.extend(devices::tables(measured));
    document.notes.extend(devices::notes(measured));
    document.figures.extend(devices::figures(measured, Some(summary)));
    document
}
