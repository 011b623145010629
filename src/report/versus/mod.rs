//! Two runs side by side as a document: first what differs between them, then the numbers.

mod quality;
mod speed;
#[cfg(test)]
mod tests;

use super::{Column, Document, Fact, Table, Value};
use crate::compare::differences::{Difference, sameness};
use crate::compare::versus::{Reading, versus};
use crate::error::Result;
use crate::results::RunFolder;

/// What changes from `a` to `b`.
///
/// # Errors
/// Input errors of the records.
pub fn document(a: &RunFolder, b: &RunFolder) -> Result<Document> {
    let found = versus(a, b)?;
    let fact = |letter: &str, side: &RunFolder| {
        let (key, hash) = (letter.to_lowercase(), Value::Hash(side.hash.clone()));
        [
            Fact::new(&key, letter, side.name.as_str()),
            Fact::new(&format!("{key}_records_hash"), &format!("records hash, {letter}"), hash)
                .detail(),
        ]
    };
    let mut tables = vec![differences(&found.differences)];
    let mut warnings = Vec::new();
    if let Some(variants) = &found.variants {
        tables.extend(quality::tables(variants));
        warnings = quality::warnings(variants);
    }
    warnings.splice(0..0, sameness(a, b).map(str::to_owned));
    tables.extend(found.speeds.iter().map(speed::table));
    let is_compared = tables.len() > 1;
    let note = "Change: from A to B, paired over the windows that both scored; for speeds, B's \
                median over A's. [ ] and ± are 95 % intervals. Inconclusive: the interval includes \
                \"no change\".";
    Ok(Document {
        title: format!("{} (A) against {} (B)", a.name, b.name),
        facts: [fact("A", a), fact("B", b)].concat(),
        warnings,
        tables,
        notes: is_compared.then(|| note.to_owned()).into_iter().collect(),
        ..Document::default()
    })
}

/// A row for everything that differs.
fn differences(all: &[Difference]) -> Table {
    let row = |found: &Difference| {
        let Difference { what, only_first, only_second } = found;
        vec![(*what).into(), only_first.as_str().into(), only_second.as_str().into()]
    };
    let same = "Nothing differs: the same question, answered by the same program.";
    Table {
        title: "What differs".into(),
        columns: vec![
            Column::text("what", "what"),
            Column::text("a", "only in A"),
            Column::text("b", "only in B"),
        ],
        rows: all.iter().map(row).collect(),
        notes: all.is_empty().then(|| same.to_owned()).into_iter().collect(),
    }
}

/// What a change says, in words.
fn reading(found: Reading) -> &'static str {
    match found {
        Reading::TooLittleData => "too little data",
        Reading::Same => "the same",
        Reading::Inconclusive => "inconclusive",
        Reading::Better => "B is better",
        Reading::Worse => "B is worse",
    }
}
