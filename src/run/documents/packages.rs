//! The packages that were written of a checkpoint.

use std::path::Path;

use crate::package::bundle::Manifest;
use crate::report::{Column, Document, Fact, Table, Unit, Value};

/// What was written to `folder`, package by package.
pub fn document(title: String, manifest: &Manifest, folder: &Path) -> Document {
    let model = &manifest.model;
    let mut table = Table {
        title: "Packages".into(),
        columns: vec![
            Column::text("package", "package"),
            Column::text("blocks", "blocks"),
            Column::number("size", "size", Unit::Bytes),
        ],
        ..Table::default()
    };
    for package in &manifest.packages {
        let blocks = package.layers.map_or(String::new(), |[first, count]| match count {
            1 => first.to_string(),
            _ => format!("{first}-{}", first + count - 1),
        });
        table.rows.push(vec![
            Value::from(package.path.as_str()),
            Value::from(blocks),
            Value::from(package.size_bytes),
        ]);
    }
    Document {
        title,
        facts: vec![
            Fact::new("folder", "Folder", folder.display().to_string()),
            Fact::new("target", "Target", model.target.as_str()),
            Fact::new("compute", "Laid out for", model.compute.as_str()),
            Fact::new("context_tokens", "Cache", model.context_tokens),
            Fact::new("cache", "Cache kept as", model.cache.as_deref().unwrap_or_default()),
            Fact::new("prefill_tokens", "Prefill", model.prefill_tokens),
            Fact::new("size", "Size", model.size_bytes).in_unit(Unit::Bytes),
        ],
        tables: vec![table],
        ..Document::default()
    }
}
