//! A folder of records: append-only, locked while written, whole after a crash.
//!
//! Appending is idempotent: a record that is already there is passed over, so that a resumed run
//! may repeat an interrupted batch and still leave the file an uninterrupted run leaves.

use std::ops::Deref;
use std::path::{Path, PathBuf};

use super::index::Index;
use super::lines::{self, Lines};
use super::record::Record;
use super::session::Session;
use crate::error::{Error, Result};

/// Name of the file of records in a run's folder.
pub const RECORDS: &str = "records.jsonl";
/// Name of the file of sessions in a run's folder.
pub const SESSIONS: &str = "sessions.jsonl";

/// A run's folder, held for writing. Reads as an [`Index`] of what it holds.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    lines: Lines,
    index: Index,
    torn_bytes: u64,
}

impl Deref for Store {
    type Target = Index;

    fn deref(&self) -> &Index {
        &self.index
    }
}

impl Store {
    /// Opens or creates a run's folder for writing, and reads what it holds. A line that a kill
    /// left half-written at the end is cut off; see [`torn_bytes`](Self::torn_bytes).
    ///
    /// # Errors
    /// The folder cannot be created or written, another process holds it (both: surroundings), or
    /// a line in it is not a record (input; names file and line).
    pub fn open(folder: &Path) -> Result<Store> {
        std::fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))?;
        let path = folder.join(RECORDS);
        let mut lines = Lines::open(&path)?;
        let whole = lines.read(is_json)?;
        let index = parse(&path, &whole.text, Index::default())?;
        if whole.torn_bytes > 0 {
            lines.cut(whole.text.len() as u64)?;
        }
        Ok(Store { folder: folder.to_owned(), lines, index, torn_bytes: whole.torn_bytes })
    }

    /// Bytes of a half-written line that opening cut off; 0 after a clean end.
    pub fn torn_bytes(&self) -> u64 {
        self.torn_bytes
    }

    /// The run's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What the folder holds.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Appends a batch in one write and waits until it has reached the disk. Records already
    /// there are passed over.
    ///
    /// # Errors
    /// A record contradicts one that is there (input), holds a number that is not finite (bug),
    /// or the disk refuses (surroundings). In each case none of the batch is kept.
    pub fn append(&mut self, batch: &[Record]) -> Result<()> {
        let mut text = String::new();
        let mut added = Index::default();
        for record in batch {
            let line = record.to_line()?;
            // Read back, so that what is reported now is what is reported from the file later.
            let record = Record::from_line(&line)?;
            let is_new = self.index.is_new(&record).map_err(|e| e.at(self.folder.display()))?;
            if is_new && added.insert(record)? {
                text.push_str(&line);
                text.push('\n');
            }
        }
        if text.is_empty() {
            return Ok(());
        }
        let kept = self.index.records().len();
        self.lines.append(&text).map_err(|e| e.at(format!("after {kept} records")))?;
        for record in added.into_records() {
            self.index.insert(record)?;
        }
        Ok(())
    }

    /// Appends a session to `sessions.jsonl`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn append_session(&self, session: &Session) -> Result<()> {
        let mut lines = Lines::open(&self.folder.join(SESSIONS))?;
        let whole = lines.read(is_json)?;
        if whole.torn_bytes > 0 {
            lines.cut(whole.text.len() as u64)?;
        }
        lines.append(&(session.to_line()? + "\n"))
    }
}

/// Reads the records of one or more folders (the shards of a sweep) without changing them; a
/// half-written last line is passed over.
///
/// # Errors
/// A folder holds no records, a line is not a record, or the folders contradict one another.
pub fn read_records<P: AsRef<Path>>(folders: &[P]) -> Result<Index> {
    folders.iter().try_fold(Index::default(), |index, folder| {
        let path = folder.as_ref().join(RECORDS);
        let whole = lines::read(&path, is_json)?;
        parse(&path, &whole.text, index)
    })
}

/// Reads the sessions of a folder; none if it has no such file.
///
/// # Errors
/// A line is not a session.
pub fn read_sessions(folder: &Path) -> Result<Vec<Session>> {
    let path = folder.join(SESSIONS);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let whole = lines::read(&path, is_json)?;
    let numbered = whole.text.lines().enumerate();
    numbered
        .map(|(at, line)| {
            Session::from_line(line)
                .map_err(|e| e.at(format!("line {}", at + 1)).at(path.display()))
        })
        .collect()
}

fn is_json(line: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(line).is_ok()
}

fn parse(path: &Path, text: &str, mut index: Index) -> Result<Index> {
    for (at, line) in text.lines().enumerate() {
        let inserted = Record::from_line(line).and_then(|record| index.insert(record));
        inserted.map_err(|e| e.at(format!("line {}", at + 1)).at(path.display()))?;
    }
    Ok(index)
}
