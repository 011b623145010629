//! Folders of runs: found, told apart, put in order.

use std::path::{Path, PathBuf};

use super::baselines::STORE;
use crate::error::{Error, Result};
use crate::results::{MEASUREMENTS, RECORDS, read_sessions};

/// Folders below a folder of runs that are looked into: `<reports>/<night>/<run>`.
const DEPTH: usize = 2;

/// Whether a folder holds a run.
pub fn is_run(folder: &Path) -> bool {
    folder.join(RECORDS).is_file() || folder.join(MEASUREMENTS).is_file()
}

/// The run that `path` is, or the only one in it.
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
            Err(Error::input(format!("expected one run, found {}", others + 1))
                .at(path.display())
                .hint(format!("name one of them, such as {}", last.display())))
        }
    }
}

/// The runs below `root`, oldest first; accepted baselines are none.
pub fn runs_in(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![(root.to_owned(), 0)];
    while let Some((folder, depth)) = open.pop() {
        if is_run(&folder) {
            found.push(folder);
        } else if depth < DEPTH && !folder.join(STORE).exists() {
            let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
            let folders = entries.map(|entry| entry.path()).filter(|path| path.is_dir());
            open.extend(folders.map(|path| (path, depth + 1)));
        }
    }
    found.sort_by_cached_key(|folder| (started(folder), folder.clone()));
    found
}

/// When a run began, as far as it says: its first session, or the date in its name.
fn started(folder: &Path) -> String {
    let sessions = read_sessions(folder).unwrap_or_default();
    let by_name = || folder.file_name().map(|name| name.to_string_lossy().into_owned());
    let first = sessions.into_iter().next().map(|session| session.started);
    first.or_else(by_name).unwrap_or_default()
}
