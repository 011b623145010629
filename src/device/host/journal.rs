//! What was asked and how it ended, written to disk before it is answered: an append-only file of
//! JSON lines.
//!
//! A job has one line for the start of an attempt and one for its end. Each reaches the disk before
//! the runner goes on. A start without an end is an attempt during which the process ended. Results
//! stay in the file; only their positions are kept in memory.

use std::collections::{HashMap, VecDeque};
use std::fs::{File, Permissions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::store::disk;
use crate::device::protocol::code::Refusal;
use crate::error::{Error, Result};
use crate::files::{sync_data, write_atomic_with};

/// How many jobs are kept.
const KEPT_JOBS: usize = 1000;
/// A file with more lines than this is compacted when it is opened.
const MANY_LINES: usize = 4 * KEPT_JOBS;
/// The most bytes of logits that are kept; those of the oldest jobs are removed first.
const MAX_LOGITS_BYTES: u64 = 1 << 30;

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum JobOutcome {
    /// A result.
    Done(Value),
    /// A failure.
    Failed(Refusal),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum JournalLine {
    Start { job: String, attempt: u32, kind: String, asked: String },
    End { job: String, attempt: u32, outcome: JobOutcome },
}

/// A job that the journal knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KnownJob {
    /// The last attempt that started.
    pub attempt: u32,
    /// A hash of what was asked.
    pub asked: String,
    kind: String,
    /// Offset and length of the line of its end; `None` if the attempt has not ended.
    end: Option<(u64, usize)>,
}

impl KnownJob {
    /// Whether the last attempt has ended.
    pub fn is_finished(&self) -> bool {
        self.end.is_some()
    }
}

/// The open file.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    bytes: u64,
    lines: usize,
    jobs: HashMap<String, KnownJob>,
    /// Ids of jobs in the order of their last starts.
    order: VecDeque<String>,
}

impl Journal {
    /// Opens or creates the journal in `store`. A last line that was cut off is removed.
    ///
    /// # Errors
    /// The disk failed.
    pub fn open(store: &Path) -> Result<Journal> {
        let path = store.join("journal.jsonl");
        let mut journal = Self::read(&path)?;
        if journal.lines > MANY_LINES {
            journal.compact()?;
            journal = Self::read(&path)?;
        }
        journal.remove_orphaned_logits();
        journal.trim_logits(MAX_LOGITS_BYTES);
        Ok(journal)
    }

    fn read(path: &Path) -> Result<Journal> {
        let failed = |e| Error::io("read the journal", path, e);
        let options = &mut File::options();
        let file =
            disk::open(path, options.read(true).append(true).create(true)).map_err(failed)?;
        let mut journal = Journal {
            path: path.to_owned(),
            bytes: 0,
            lines: 0,
            jobs: HashMap::new(),
            order: VecDeque::new(),
            file: file.try_clone().map_err(failed)?,
        };
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).map_err(failed)? > 0 && line.ends_with(b"\n") {
            // A damaged line is skipped; the others are still valid.
            if let Ok(read) = serde_json::from_slice(&line) {
                journal.remember(read, line.len());
            }
            journal.bytes += line.len() as u64;
            journal.lines += 1;
            line.clear();
        }
        journal.file.set_len(journal.bytes).map_err(failed)?;
        // Compacting has made a file with the permissions of any other.
        journal.file.set_permissions(Permissions::from_mode(disk::FILE_MODE)).map_err(failed)?;
        Ok(journal)
    }

    /// Adds a line that begins at the end of the file.
    fn remember(&mut self, line: JournalLine, bytes: usize) {
        match line {
            JournalLine::Start { job, attempt, kind, asked } => {
                self.order.retain(|other| *other != job);
                self.order.push_back(job.clone());
                self.jobs.insert(job, KnownJob { attempt, asked, kind, end: None });
            }
            JournalLine::End { job, attempt, .. } => {
                if let Some(known) = self.jobs.get_mut(&job)
                    && known.attempt == attempt
                {
                    known.end = Some((self.bytes, bytes));
                }
            }
        }
        while self.order.len() > KEPT_JOBS {
            if let Some(job) = self.order.pop_front() {
                self.jobs.remove(&job);
                let _ = disk::remove(&self.logits(&job));
            }
        }
    }

    /// What the journal knows of a job.
    pub fn known(&self, job: &str) -> Option<&KnownJob> {
        self.jobs.get(job)
    }

    /// The path of the file of a job's logits.
    pub fn logits(&self, job: &str) -> PathBuf {
        self.path.with_file_name("jobs").join(format!("{job}.f32"))
    }

    /// Records that an attempt starts. `asked` is a hash of what was asked.
    ///
    /// # Errors
    /// The disk failed; the journal is unchanged.
    pub fn start(&mut self, job: &str, attempt: u32, kind: &str, asked: &str) -> io::Result<()> {
        let (job, kind, asked) = (job.to_owned(), kind.to_owned(), asked.to_owned());
        self.append(JournalLine::Start { job, attempt, kind, asked })
    }

    /// Records how an attempt ended.
    ///
    /// # Errors
    /// The disk failed; the journal is unchanged.
    pub fn end(&mut self, job: &str, attempt: u32, outcome: JobOutcome) -> io::Result<()> {
        self.append(JournalLine::End { job: job.to_owned(), attempt, outcome })?;
        self.trim_logits(MAX_LOGITS_BYTES);
        Ok(())
    }

    /// Removes files of logits, those of the oldest jobs first, until the others have at most `limit`
    /// bytes. Those of the last job stay, for it is about to be answered.
    fn trim_logits(&self, limit: u64) {
        let mut total = 0;
        for (at, job) in self.order.iter().rev().enumerate() {
            let path = self.logits(job);
            total += disk::size_of(&path).unwrap_or(0);
            if at > 0 && total > limit {
                // A file that stays is removed next time.
                let _ = disk::remove(&path);
            }
        }
    }

    fn append(&mut self, line: JournalLine) -> io::Result<()> {
        let mut text = serde_json::to_vec(&line)?;
        text.push(b'\n');
        let written = self.file.write_all(&text).and_then(|()| sync_data(&self.file));
        if let Err(error) = written {
            // If this fails too, the partial line is removed when the journal is opened next.
            let _ = self.file.set_len(self.bytes);
            return Err(error);
        }
        self.remember(line, text.len());
        self.bytes += text.len() as u64;
        self.lines += 1;
        Ok(())
    }

    /// How a job's last attempt ended; `None` if it has not ended.
    ///
    /// # Errors
    /// The disk failed, or the line is not what was written.
    pub fn outcome(&self, job: &str) -> io::Result<Option<JobOutcome>> {
        let Some((offset, bytes)) = self.jobs.get(job).and_then(|known| known.end) else {
            return Ok(None);
        };
        match serde_json::from_slice(&self.line(offset, bytes)?)? {
            JournalLine::End { outcome, .. } => Ok(Some(outcome)),
            JournalLine::Start { .. } => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn line(&self, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(offset))?;
        let mut line = vec![0; bytes];
        file.read_exact(&mut line)?;
        Ok(line)
    }

    /// Replaces the file by one with only the lines of the jobs that are kept.
    fn compact(&mut self) -> Result<()> {
        write_atomic_with(&self.path, |out| {
            let failed = |e| Error::io("write the journal", &self.path, e);
            for (job, known) in self.order.iter().filter_map(|job| Some((job, self.jobs.get(job)?)))
            {
                let KnownJob { attempt, asked, kind, end } = known.clone();
                let start = JournalLine::Start { job: job.clone(), attempt, kind, asked };
                serde_json::to_writer(&mut *out, &start).map_err(|e| failed(e.into()))?;
                out.write_all(b"\n").map_err(failed)?;
                if let Some((offset, bytes)) = end {
                    let line = self.line(offset, bytes).map_err(failed)?;
                    out.write_all(&line).map_err(failed)?;
                }
            }
            Ok(())
        })
    }

    /// Removes files of logits whose jobs are not kept, or have not ended.
    fn remove_orphaned_logits(&self) {
        let Ok(entries) = std::fs::read_dir(self.path.with_file_name("jobs")) else { return };
        for path in entries.flatten().map(|entry| entry.path()) {
            let job = path.file_stem().unwrap_or_default().to_string_lossy();
            let is_kept = self.jobs.get(job.as_ref()).is_some_and(KnownJob::is_finished);
            if !is_kept || disk::size_of(&path).is_none() {
                let _ = disk::remove(&path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(value: u32) -> JobOutcome {
        JobOutcome::Done(value.into())
    }

    #[test]
    fn a_line_that_was_cut_off_is_removed_and_the_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(folder.path()).unwrap();
        journal.start("a", 1, "load", "x").unwrap();
        journal.end("a", 1, done(1)).unwrap();
        journal.start("b", 1, "load", "y").unwrap();
        let before = std::fs::read(&journal.path).unwrap();
        journal.end("b", 1, done(2)).unwrap();
        let after = std::fs::read(&journal.path).unwrap();
        for end in before.len()..after.len() {
            std::fs::write(&journal.path, &after[..end]).unwrap();
            let journal = Journal::open(folder.path()).unwrap();
            assert_eq!(journal.outcome("a").unwrap(), Some(done(1)));
            assert_eq!(journal.outcome("b").unwrap(), None);
            assert_eq!(std::fs::read(&journal.path).unwrap(), before);
        }
        std::fs::write(&journal.path, &after).unwrap();
        let journal = Journal::open(folder.path()).unwrap();
        assert_eq!(journal.outcome("b").unwrap(), Some(done(2)));
    }

    #[test]
    fn compacting_keeps_the_last_thousand_jobs() {
        let folder = tempfile::tempdir().unwrap();
        let mut lines = String::new();
        let mut line = |line| lines.push_str(&(serde_json::to_string(&line).unwrap() + "\n"));
        for job in 0..2_500_u32 {
            let (job, asked) = (job.to_string(), "x".to_owned());
            line(JournalLine::Start { job: job.clone(), attempt: 1, kind: "plan".into(), asked });
            line(JournalLine::End { outcome: done(job.parse().unwrap()), job, attempt: 1 });
        }
        let path = folder.path().join("journal.jsonl");
        std::fs::write(&path, lines).unwrap();
        let mut journal = Journal::open(folder.path()).unwrap();
        assert_eq!(journal.lines, 2 * KEPT_JOBS);
        assert_eq!(journal.known("1499"), None);
        assert_eq!(journal.outcome("1500").unwrap(), Some(done(1500)));
        journal.start("new", 7, "load", "z").unwrap();
        assert_eq!(journal.known("1500"), None);
        assert_eq!(journal.outcome("2499").unwrap(), Some(done(2499)));
        let journal = Journal::open(folder.path()).unwrap();
        let known = journal.known("new").unwrap();
        assert_eq!((known.attempt, known.is_finished()), (7, false));
    }

    #[test]
    fn the_logits_of_the_oldest_jobs_make_room() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("jobs")).unwrap();
        let mut journal = Journal::open(folder.path()).unwrap();
        for job in ["a", "b", "c"] {
            journal.start(job, 1, "score", "x").unwrap();
            std::fs::write(journal.logits(job), [0; 100]).unwrap();
            journal.end(job, 1, done(1)).unwrap();
        }
        let kept = |journal: &Journal| ["a", "b", "c"].map(|job| journal.logits(job).exists());
        journal.trim_logits(300);
        assert_eq!(kept(&journal), [true; 3]);
        journal.trim_logits(200);
        assert_eq!(kept(&journal), [false, true, true]);
        journal.trim_logits(10);
        assert_eq!(kept(&journal), [false, false, true]);
        let mode = std::fs::metadata(&journal.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_second_attempt_hides_the_end_of_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(folder.path()).unwrap();
        journal.start("a", 1, "load", "x").unwrap();
        journal.start("a", 2, "load", "x").unwrap();
        journal.end("a", 1, done(1)).unwrap();
        assert_eq!(journal.outcome("a").unwrap(), None);
        journal.end("a", 2, done(2)).unwrap();
        assert_eq!(journal.outcome("a").unwrap(), Some(done(2)));
    }
}
