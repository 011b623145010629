//! Two runs side by side: first what differs between them, then numbers, in pairs where they are
//! about the same windows.

mod differences;
mod quality;
mod speed;
#[cfg(test)]
mod tests;

use super::{Document, Fact, Summary, Value, run};
use crate::error::Result;
use crate::results::RunFolder;
use crate::stats::{Better, Estimate};

/// A run and what was found in it.
struct Side<'a> {
    folder: &'a RunFolder,
    /// Nothing for a folder of measurements alone.
    summary: Option<Summary>,
}

impl<'a> Side<'a> {
    fn of(folder: &'a RunFolder) -> Result<Side<'a>> {
        let is_scored = folder.index.run().is_some();
        let summary = is_scored.then(|| run::summary(folder)).transpose();
        Ok(Side { folder, summary: summary.map_err(|e| e.at(&folder.name))? })
    }
}

/// What changes from `a` to `b`.
///
/// # Errors
/// Input errors of the records.
pub fn document(a: &RunFolder, b: &RunFolder) -> Result<Document> {
    let [a, b] = [Side::of(a)?, Side::of(b)?];
    let fact = |letter: &str, side: &Side<'_>| {
        let (key, hash) = (letter.to_lowercase(), Value::Hash(side.folder.hash.clone()));
        [
            Fact::new(&key, letter, side.folder.name.as_str()),
            Fact::new(&format!("{key}_records_hash"), &format!("records hash, {letter}"), hash)
                .detail(),
        ]
    };
    let mut tables = vec![differences::table(&a, &b)];
    let (scored, warnings) = quality::tables(&a, &b);
    tables.extend(scored);
    tables.extend(speed::tables(&a, &b));
    let is_paired = tables.len() > 1;
    let note = "Change: from A to B, over the windows that both scored, in pairs; of speeds, B's \
                median over A's. [ ] and ± are 95 % intervals. Inconclusive: the interval holds \
                \"no change\".";
    Ok(Document {
        title: format!("{} (A) against {} (B)", a.folder.name, b.folder.name),
        facts: [fact("A", &a), fact("B", &b)].concat(),
        warnings,
        tables,
        notes: is_paired.then(|| note.to_owned()).into_iter().collect(),
        ..Document::default()
    })
}

/// What an interval says of a change whose "none" is `none`.
fn reading(change: &Estimate, none: f64, better: Better) -> &'static str {
    let Some(interval) = change.interval else { return "too little data" };
    if interval.low == none && interval.high == none {
        return "the same";
    }
    let is_up = interval.low > none;
    if !is_up && interval.high >= none {
        return "inconclusive";
    }
    if is_up == (better == Better::Higher) { "B is better" } else { "B is worse" }
}
