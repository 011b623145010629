//! A run's folder as one document: what was scored, what devices measured, and their pictures.

use super::{Document, Summary, devices};
use crate::results::measurement::Measurement;

/// The document of a run that scored variants and may have measured them.
pub fn document(summary: &Summary, measured: &[Measurement]) -> Document {
    let mut document = summary.document();
    document.tables.extend(devices::tables(measured));
    document.notes.extend(devices::notes(measured));
    document.figures.extend(devices::figures(measured, Some(summary)));
    document
}
