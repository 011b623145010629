//! The sizes of a checkpoint's coded weights, part by part.

use std::path::Path;

use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::eval::Variant;
use crate::report::{Column, Document, Fact, Table, Unit, Value};
use crate::units::BitsPerWeight;

/// Notes on how Core ML expresses the recipes, without repetition.
fn notes(variant: &Variant) -> Vec<String> {
    let mut notes = Vec::new();
    for recipe in variant.recipes() {
        let note = recipe.core_ml_note().map(|what| format!("{recipe} in Core ML: {what}."));
        notes.extend(note.filter(|note| !notes.contains(note)).into_iter().collect::<Vec<_>>());
    }
    notes
}

/// What was written to the file `output`.
///
/// # Errors
/// Input errors of recipes that do not fit the checkpoint.
pub fn document(checkpoint: &Checkpoint, variant: &Variant, output: &Path) -> Result<Document> {
    let mut table = Table {
        title: "Stored".into(),
        columns: vec![
            Column::text("part", "part"),
            Column::text("recipe", "recipe"),
            Column::number("weights", "weights", Unit::None),
            Column::number("size", "size", Unit::Bytes),
            Column::number("effective", "effective", Unit::BitsPerWeight),
        ],
        ..Table::default()
    };
    let parts = variant.parts(checkpoint)?;
    let title = format!("{} as {}", checkpoint.name, variant.label(&parts));
    for part in parts {
        table.rows.push(vec![
            Value::from(part.part),
            Value::from(part.recipe),
            Value::from(part.weights),
            Value::from(part.size_bytes),
            Value::from(BitsPerWeight::of(part.size_bytes, part.weights).0),
        ]);
    }
    Ok(Document {
        title,
        facts: vec![Fact::new("file", "File", output.display().to_string())],
        tables: vec![table],
        notes: notes(variant),
        ..Document::default()
    })
}
