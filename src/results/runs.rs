//! Finding runs in folders, in order of time.

use std::path::{Path, PathBuf};

use super::baselines::STORE;
use crate::error::{Error, Result};
use crate::results::{CONDENSED, MEASUREMENTS, RECORDS, read_sessions};

/// Levels of folders that are searched below a folder of runs: `<reports>/<night>/<run>`.
const DEPTH: usize = 2;

/// The most runs that an error names.
const NAMED: usize = 8;
/// A folder that holds one of these files holds a run.
const FILES: [&str; 3] = [RECORDS, CONDENSED, MEASUREMENTS];

/// Whether a folder holds a run.
pub fn is_run(folder: &Path) -> bool {
    FILES.iter().any(|name| folder.join(name).is_file())
}

/// Whether a run's command was killed before it wrote anything.
fn is_blank(run: &Path) -> bool {
    let len = |name: &&str| run.join(name).metadata().map_or(0, |file| file.len());
    FILES.iter().all(|name| len(name) == 0)
}

/// The folder `path` if it holds a run, or else the only run below it.
///
/// # Errors
/// Input errors: no such folder, no run in it, several.
pub fn only_run(path: &Path) -> Result<PathBuf> {
    if is_run(path) {
        return Ok(path.to_owned());
    }
    std::fs::read_dir(path).map_err(|e| Error::io("read the run", path, e))?;
    let mut found = runs_in(path);
    match (found.pop(), found.len()) {
        (Some(run), 0) => Ok(run),
        (None, _) => {
            Err(Error::input(format!("expected a run, found neither {RECORDS} nor {MEASUREMENTS}"))
                .at(path.display())
                .hint("name a folder that evalkit sweep or bench left, such as reports/<run>"))
        }
        (Some(last), others) => {
            let all = found.iter().chain([&last]).rev().take(NAMED);
            let names: Vec<String> = all.map(|run| run.display().to_string()).collect();
            let more = if others < NAMED { "" } else { ", ..." };
            Err(Error::input(format!("expected one run, found {}", others + 1))
                .at(path.display())
                .hint(format!("name one of them: {}{more}", names.join(", "))))
        }
    }
}

/// The runs below `root`, oldest first, without accepted baselines and runs that hold nothing yet.
pub fn runs_in(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![(root.to_owned(), 0)];
    while let Some((folder, depth)) = open.pop() {
        if is_run(&folder) {
            found.extend((!is_blank(&folder)).then_some(folder));
        } else if depth < DEPTH && !folder.join(STORE).exists() {
            let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
            let folders = entries.map(|entry| entry.path()).filter(|path| path.is_dir());
            open.extend(folders.map(|path| (path, depth + 1)));
        }
    }
    found.sort_by_cached_key(|folder| (started(folder), folder.clone()));
    found
}

/// When a run began: its first session, or else the date in its name; empty for a run with neither, which
/// then counts as the oldest.
fn started(folder: &Path) -> String {
    let sessions = read_sessions(folder).unwrap_or_default();
    let by_name = || {
        let name = folder.file_name()?.to_string_lossy().into_owned();
        name.starts_with(|c: char| c.is_ascii_digit()).then_some(name)
    };
    let first = sessions.into_iter().next().map(|session| session.started);
    first.or_else(by_name).unwrap_or_default()
}
