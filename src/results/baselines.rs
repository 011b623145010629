//! The store of accepted baselines: one run per question and length, copied byte for byte, and a log of
//! when each was accepted.
//!
//! A question is made of the names of model, text and protocol and of the tokens per window, not of
//! hashes: a run on a text that was replaced must find its baseline, so that the check can report the
//! difference. Runs of one question with another number of windows are baselines of their own, and the
//! question's name continues with that number.
//!
//! The log is locked while a run is accepted. The folder of a baseline holds its line of the log, too,
//! so that a baseline whose command was killed before it wrote the log is known by its folder.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::blocks::read_lines;
use super::lines::Lines;
use super::now;
use super::plans::plans_in;
use crate::error::{At, Error, Result};
use crate::files::{AtomicDir, Existing, copy_regular, read_regular_text, sweep};
use crate::results::measurement::Measurement;
use crate::results::{CONDENSED, MEASUREMENTS, RECORDS, RunFolder};

/// The log of a store; a folder that has one is a store.
pub const STORE: &str = "accepted.jsonl";
/// Where baselines are kept unless a flag says otherwise.
pub const DEFAULT: &str = "reports/baselines";
/// The file in a baseline's folder with its line of the log.
const ACCEPTED: &str = "accepted.json";
/// The largest such file that is read, in bytes.
const MAX_LINE_BYTES: u64 = 1 << 16;
/// The files of a run that are kept besides its plans. A folder that holds one of them is a baseline,
/// which a newer one may replace.
const FILES: [&str; 3] = [RECORDS, CONDENSED, MEASUREMENTS];
/// How long accepting waits for others that accept into the same store.
const PATIENCE: Duration = Duration::from_secs(60);
/// The version of the log's lines.
const SCHEMA: u32 = 1;

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// The version of this line.
    pub schema: u32,
    /// The question, with the number of windows where runs of several lengths are kept; also the
    /// folder's name in the store.
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

/// Windows of a run; `None` if it scored no text.
fn windows(side: &RunFolder) -> Option<usize> {
    side.index.run().map(|run| run.windows)
}

/// The name under which a store keeps runs of a question with this number of windows, apart from those
/// with another number.
fn with_length(question: &str, windows: usize) -> String {
    format!("{question}-{windows}-windows")
}

/// The name under which `store` keeps a run: its question, if the baseline of that name has as many
/// windows or there is none.
fn name_in(store: &Path, run: &RunFolder) -> String {
    let question = question(run);
    let Some(own) = windows(run) else { return question };
    let lengthy = with_length(&question, own);
    // A baseline that cannot be read is replaced, as every baseline of the question was.
    let kept = RunFolder::read_sums(&store.join(&question)).ok();
    let is_other = kept.is_some_and(|kept| windows(&kept).is_some_and(|kept| kept != own));
    if is_other || store.join(&lengthy).exists() { lengthy } else { question }
}

/// Keeps a copy of the run in `folder` as the baseline of its question, replacing an earlier one of the
/// same length.
///
/// # Errors
/// The store cannot be written, or another process writes it for more than a minute. The store is then
/// unchanged; if only the log cannot be written, the next acceptance writes this one's line.
pub fn accept(store: &Path, folder: &Path, run: &RunFolder) -> Result<Accepted> {
    std::fs::create_dir_all(store).map_err(|e| Error::io("create", store, e))?;
    let path = store.join(STORE);
    let mut log = Lines::open_within(&path, PATIENCE)?;
    log.cut_torn(&read_lines(&path, parse, |_| Ok(()))?)?;
    sweep(store);
    for unlogged in unlogged(store, &read_log(store)?)? {
        log.append(&line(&unlogged)?)?;
    }
    let accepted = Accepted {
        schema: SCHEMA,
        question: name_in(store, run),
        run: run.name.clone(),
        hash: run.hash.clone(),
        accepted: now(),
    };
    let new = AtomicDir::create(&store.join(&accepted.question), Existing::Replace, &FILES)?;
    copy(folder, new.path())?;
    let (text, path) = (line(&accepted)?, new.path().join(ACCEPTED));
    std::fs::write(&path, &text).map_err(|e| Error::io("write", &path, e))?;
    new.put()?;
    log.append(&text)?;
    Ok(accepted)
}

fn line(one: &Accepted) -> Result<String> {
    let line = serde_json::to_string(one);
    let bug = |e| Error::bug("cannot write the log of baselines as JSON").because(e);
    Ok(line.map_err(bug)? + "\n")
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let files = FILES.into_iter().filter(|name| from.join(name).exists()).map(str::to_owned);
    for name in files.chain(plans_in(from)) {
        copy_regular(&from.join(&name), &to.join(&name))?;
    }
    Ok(())
}

/// The latest baseline of every question. A replacement that a killed process began is finished first.
///
/// # Errors
/// As [`read_log`].
pub fn list(store: &Path) -> Result<Vec<Accepted>> {
    sweep(store);
    let mut latest: Vec<Accepted> = Vec::new();
    let mut all = read_log(store)?;
    all.extend(unlogged(store, &all)?);
    for one in all {
        latest.retain(|earlier| earlier.question != one.question);
        latest.push(one);
    }
    Ok(latest)
}

/// The folder of the baseline for `run`: of its question and length, or else of its question.
///
/// # Errors
/// Input errors: there is no such store, or no such baseline in it.
pub fn find(store: &Path, run: &RunFolder) -> Result<PathBuf> {
    let accept = "accept one with: evalkit baseline accept reports/<run>";
    if !store.join(STORE).exists() {
        return Err(Error::input("expected a run or a store of accepted baselines, found neither")
            .at(store.display())
            .hint(accept));
    }
    let (all, question) = (list(store)?, question(run));
    let lengthy = windows(run).map(|windows| with_length(&question, windows));
    for name in lengthy.iter().chain([&question]) {
        if all.iter().any(|one| one.question == *name) {
            return Ok(store.join(name));
        }
    }
    let known: Vec<&str> = all.iter().map(|one| one.question.as_str()).collect();
    let what = format!("no baseline is accepted for {question}, only for {}", known.join(", "));
    Err(Error::input(what).at(store.display()).hint(accept))
}

/// Every line of the log, oldest first; a half-written last line is ignored.
///
/// # Errors
/// Input errors: a line of the log cannot be read.
fn read_log(store: &Path) -> Result<Vec<Accepted>> {
    let path = store.join(STORE);
    let mut all = Vec::new();
    if path.exists() {
        read_lines(&path, parse, |one| {
            all.push(one);
            Ok(())
        })?;
    }
    Ok(all)
}

fn parse(line: &str) -> Result<Accepted> {
    let one: Accepted = serde_json::from_str(line)
        .map_err(|e| Error::input("not an accepted baseline").because(e))?;
    if one.schema > SCHEMA {
        let what = format!("schema {} is newer than this program's {SCHEMA}", one.schema);
        return Err(Error::input(what).hint("update evalkit to read this store"));
    }
    Ok(one)
}

/// The baselines whose commands were killed before they wrote the log, by the lines in their folders.
///
/// # Errors
/// Input errors of such a line.
fn unlogged(store: &Path, log: &[Accepted]) -> Result<Vec<Accepted>> {
    let mut found = Vec::new();
    let entries = std::fs::read_dir(store).map_err(|e| Error::io("read", store, e))?;
    for entry in entries.flatten() {
        // A hidden folder is still being written, or was when its process was killed.
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let path = entry.path().join(ACCEPTED);
        if !path.exists() {
            continue;
        }
        let text = read_regular_text("read", &path, MAX_LINE_BYTES)?;
        let one = parse(text.trim_end()).at(|| path.display())?;
        // A folder under another name is a copy.
        if entry.file_name() == *one.question && !log.contains(&one) {
            found.push(one);
        }
    }
    found.sort_by(|a, b| (&a.accepted, &a.question).cmp(&(&b.accepted, &b.question)));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{Record, Run, Store};

    /// A run of `windows` windows in `folder`.
    fn run(folder: &Path, windows: usize) -> RunFolder {
        let (model, protocol) = ("m".into(), "full".into());
        let run = Run { model, protocol, windows, ..Run::default() };
        Store::open(folder).unwrap().append(&[Record::Run(run)]).unwrap();
        RunFolder::read(folder).unwrap()
    }

    #[test]
    fn ten_accepted_at_once_leave_ten_entries() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store");
        let paths: Vec<PathBuf> =
            (0..10).map(|at| folder.path().join(format!("run{at}"))).collect();
        std::thread::scope(|scope| {
            for path in &paths {
                let store = &store;
                scope.spawn(move || accept(store, path, &run(path, 4)).unwrap());
            }
        });
        let log = read_log(&store).unwrap();
        assert_eq!(log.len(), 10);
        let listed = list(&store).unwrap();
        assert_eq!(listed, log[9..]);
        // The folder is that of the last line, and nothing else is left.
        let kept = std::fs::read_to_string(store.join(&log[9].question).join(ACCEPTED)).unwrap();
        assert_eq!(parse(kept.trim_end()).unwrap(), log[9]);
        assert_eq!(std::fs::read_dir(&store).unwrap().count(), 2);
    }

    #[test]
    fn runs_of_another_length_are_baselines_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let (store, path) = (folder.path().join("store"), |name: &str| folder.path().join(name));
        let (long, short) = (run(&path("long"), 32), run(&path("short"), 4));
        let first = accept(&store, &path("long"), &long).unwrap();
        assert_eq!(first.question, question(&long));
        // A run of another length is held against the only baseline of its question.
        assert_eq!(find(&store, &short).unwrap(), store.join(&first.question));
        let second = accept(&store, &path("short"), &short).unwrap();
        assert_eq!(second.question, format!("{}-4-windows", first.question));
        assert_eq!(find(&store, &short).unwrap(), store.join(&second.question));
        assert_eq!(find(&store, &long).unwrap(), store.join(&first.question));
        accept(&store, &path("short"), &short).unwrap();
        assert_eq!(list(&store).unwrap().len(), 2);
        let kept = RunFolder::read(&store.join(&first.question)).unwrap();
        assert_eq!(windows(&kept), Some(32));
    }

    #[test]
    fn an_acceptance_that_was_killed_before_the_log_is_known_and_logged_later() {
        let folder = tempfile::tempdir().unwrap();
        let (store, path) = (folder.path().join("store"), folder.path().join("run"));
        let run = run(&path, 4);
        let first = accept(&store, &path, &run).unwrap();
        std::fs::write(store.join(STORE), "").unwrap();
        let unfinished = store.join(format!(".{}.evalkit-1-0.part", first.question));
        std::fs::create_dir(&unfinished).unwrap();
        std::fs::write(unfinished.join(ACCEPTED), "").unwrap();
        assert_eq!(list(&store).unwrap(), std::slice::from_ref(&first));
        assert!(find(&store, &run).is_ok());
        // A half-written line is what a killed process leaves.
        std::fs::write(store.join(STORE), "{\"schema\":1,\"que").unwrap();
        let second = accept(&store, &path, &run).unwrap();
        assert_eq!(read_log(&store).unwrap(), [first, second]);
        assert!(!unfinished.exists());
    }
}
