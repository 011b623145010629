//! The document on which every renderer's snapshot is taken: scored variants, and a phone with rejected
//! repetitions, a package that it computes wrongly and predictions, a phone that was lost, and a
//! simulation.

use super::{Document, devices, run};
use crate::compare::fixture::{folder, records};
use crate::results::RunFolder;

pub(super) fn document() -> Document {
    let folder =
        RunFolder { measured: devices::fixture(), ..folder("2026-01-01-tiny", &records()) };
    run::document(&folder).unwrap()
}

/// The same, with one good and one failed row, two facts and one figure.
pub(super) fn short_document() -> Document {
    let mut document = document();
    document.facts.truncate(2);
    document.figures.truncate(1);
    document.tables.truncate(1);
    document.notes.truncate(2);
    for table in &mut document.tables {
        table.rows = table.rows.drain(1..3).collect();
    }
    document
}
