//! The accepted baselines of a store.

use super::{Column, Document, Table, Value};
use crate::results::baselines;

/// A row for each baseline.
pub fn document(all: &[baselines::Accepted]) -> Document {
    let row = |one: &baselines::Accepted| {
        vec![
            Value::from(one.question.as_str()),
            one.accepted.as_str().into(),
            one.run.as_str().into(),
            Value::Hash(one.hash.clone()),
        ]
    };
    let table = Table {
        columns: vec![
            Column::text("question", "question"),
            Column::text("accepted", "accepted"),
            Column::text("run", "run").rank(1),
            Column::text("hash", "hash").rank(2),
        ],
        rows: all.iter().map(row).collect(),
        ..Table::default()
    };
    Document { title: "Accepted baselines".into(), tables: vec![table], ..Document::default() }
}
