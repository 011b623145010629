//! Folders of runs: found, opened for comparing, told apart.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::baselines::STORE;
use crate::error::{Error, Result};
use crate::report::check::Side;
use crate::results::measurement::{MEASUREMENTS, Measurement, read_measurements};
use crate::results::{Index, RECORDS, read_sessions, read_sums};

/// Folders below a folder of runs that are looked into: `<reports>/<night>/<run>`.
const DEPTH: usize = 2;

/// A run's folder, read: sums and measurements, nothing per token.
pub struct Opened {
    /// The folder's name.
    pub name: String,
    /// Where it lies.
    pub folder: PathBuf,
    /// Hash of the files of records and of measurements.
    pub hash: String,
    /// Its records; empty for measurements alone.
    pub index: Index,
    /// What devices measured.
    pub measured: Vec<Measurement>,
}

impl Opened {
    /// Reads the run in `folder`.
    ///
    /// # Errors
    /// Input errors that name file and line.
    pub fn open(folder: &Path) -> Result<Opened> {
        let index =
            if folder.join(RECORDS).exists() { read_sums(folder)? } else { Index::default() };
        let absolute = folder.canonicalize().map_err(|e| Error::io("read", folder, e))?;
        let name = absolute.file_name().map(|name| name.to_string_lossy().into_owned());
        Ok(Opened {
            name: name.unwrap_or_default(),
            hash: hash(folder)?,
            index,
            measured: read_measurements(folder)?,
            folder: folder.to_owned(),
        })
    }

    /// The run as a check takes it.
    pub fn side(&self) -> Side<'_> {
        let Opened { name, hash, index, measured, .. } = self;
        Side { name, hash, index, measured }
    }
}

/// The hash of a run's files of records and of measurements.
fn hash(folder: &Path) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    for name in [RECORDS, MEASUREMENTS] {
        let path = folder.join(name);
        if path.exists() {
            let file = File::open(&path).map_err(|e| Error::io("read", &path, e))?;
            hasher.update_reader(file).map_err(|e| Error::io("read", &path, e))?;
        }
    }
    Ok(hasher.finalize().to_hex().to_string())
}

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
