//! The store of accepted baselines: one run per question, byte for byte, and a log of who came when.
//!
//! The question is model, text, protocol and tokens per window by name, not by hash: a text that
//! was replaced must meet its baseline, to be told that it is another one.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::now;
use crate::error::{At, Error, Result};
use crate::files::{AtomicDir, Existing, write_atomic};
use crate::results::measurement::Measurement;
use crate::results::{MEASUREMENTS, RECORDS, RunFolder};

/// The log of a store, which also tells that a folder is one.
pub const STORE: &str = "accepted.jsonl";
/// Where baselines are kept unless a flag says otherwise.
pub const DEFAULT: &str = "reports/baselines";
/// What of a run is kept.
const FILES: [&str; 3] = [RECORDS, MEASUREMENTS, "plan.toml"];
/// A folder that holds one of these is a baseline, which a newer one may replace.
const MARKS: [&str; 2] = [RECORDS, MEASUREMENTS];
/// The version of the log's lines.
const SCHEMA: u32 = 1;

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// The version of this line.
    pub schema: u32,
    /// The question, which is also the folder's name in the store.
    pub question: String,
    /// The run's name.
    pub run: String,
    /// Hash of its records and measurements.
    pub hash: String,
    /// When it was accepted (RFC 3339).
    pub accepted: String,
}

/// The question that a run answers.
pub fn question(side: &RunFolder) -> String {
    let of_subject = || {
        side.measured.iter().find_map(|one| match one {
            Measurement::Subject(subject) => Some(format!("{}-bench", subject.model)),
            _ => None,
        })
    };
    let of_run = side.index.run().map(|run| {
        format!("{}-on-{}-{}-{}", run.model, run.text_name, run.protocol, run.window_tokens)
    });
    let words = of_run.or_else(of_subject).unwrap_or_default();
    let is_plain = |c: char| c.is_alphanumeric() || c == '.' || c == '-';
    let plain: String = words.chars().map(|c| if is_plain(c) { c } else { '-' }).collect();
    plain.trim_matches('.').to_owned()
}

/// Keeps a copy of the run in `folder` as the baseline of its question, in place of an earlier one.
///
/// # Errors
/// The store cannot be written; what was there stays.
pub fn accept(store: &Path, folder: &Path, run: &RunFolder) -> Result<Accepted> {
    let mut log = if store.exists() { read_log(store)? } else { Vec::new() };
    let accepted = Accepted {
        schema: SCHEMA,
        question: question(run),
        run: run.name.clone(),
        hash: run.hash.clone(),
        accepted: now(),
    };
    std::fs::create_dir_all(store).map_err(|e| Error::io("create", store, e))?;
    let kept = store.join(&accepted.question);
    let new = AtomicDir::create(&kept, Existing::Replace, &MARKS)?;
    copy(folder, new.path())?;
    new.put()?;
    log.push(accepted.clone());
    let line = |one: &Accepted| serde_json::to_string(one).map(|line| line + "\n");
    let text: String = log
        .iter()
        .map(line)
        .collect::<Result<_, _>>()
        .map_err(|e| Error::bug("cannot write the log of baselines as JSON").because(e))?;
    write_atomic(&store.join(STORE), text.as_bytes())?;
    Ok(accepted)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    for name in FILES.into_iter().filter(|name| from.join(name).exists()) {
        std::fs::copy(from.join(name), to.join(name))
            .map_err(|e| Error::io(format!("copy {name} to"), to, e))?;
    }
    Ok(())
}

/// The latest baseline of every question.
///
/// # Errors
/// As [`read_log`].
pub fn list(store: &Path) -> Result<Vec<Accepted>> {
    let mut latest: Vec<Accepted> = Vec::new();
    for one in read_log(store)? {
        latest.retain(|earlier| earlier.question != one.question);
        latest.push(one);
    }
    Ok(latest)
}

/// The folder of the baseline that answers `question`.
///
/// # Errors
/// Input errors: there is no such store, or no such baseline in it.
pub fn find(store: &Path, question: &str) -> Result<PathBuf> {
    let accept = "accept one with: evalkit baseline accept reports/<run>";
    if !store.join(STORE).exists() {
        return Err(Error::input(
            "there is no baseline, neither a run nor a store of accepted ones",
        )
        .at(store.display())
        .hint(accept));
    }
    let all = list(store)?;
    if all.iter().any(|one| one.question == question) {
        return Ok(store.join(question));
    }
    let known: Vec<&str> = all.iter().map(|one| one.question.as_str()).collect();
    let what = format!("no baseline of {question}; accepted are {}", known.join(", "));
    Err(Error::input(what).at(store.display()).hint(accept))
}

/// Every line of the log, oldest first.
///
/// # Errors
/// Input errors: the folder is no store, or a line is none of its log.
fn read_log(store: &Path) -> Result<Vec<Accepted>> {
    let path = store.join(STORE);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = std::fs::read_to_string(&path).map_err(|e| Error::io("read", &path, e))?;
    let line = |(at, line): (usize, &str)| {
        let read = serde_json::from_str::<Accepted>(line)
            .map_err(|e| Error::input("not an accepted baseline").because(e));
        let checked = read.and_then(|one| {
            if one.schema > SCHEMA {
                Err(Error::input(format!(
                    "schema {} is newer than this program's {SCHEMA}",
                    one.schema
                ))
                .hint("update evalkit to read this store"))
            } else {
                Ok(one)
            }
        });
        checked.at(|| format!("line {}", at + 1)).at(|| path.display())
    };
    text.lines().enumerate().map(line).collect()
}
