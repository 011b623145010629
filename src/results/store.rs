//! A folder of records: append-only, locked while it is written, whole after a crash.
//!
//! Appending is idempotent: a record that is already there is skipped, so that a resumed run may
//! repeat an interrupted batch and still leave the same file as an uninterrupted run.

use std::ops::Deref;
use std::path::{Path, PathBuf};

use super::blocks::{Extent, read_lines};
use super::coding::CodedLayer;
use super::condensed::CONDENSED;
use super::index::Index;
use super::lines::Lines;
use super::record::Record;
use super::session::Session;
use super::{CODING, RECORDS, SESSIONS};
use crate::error::{Error, Result};
use crate::files::{Leftovers, sweep};

/// A run's folder, open for writing. It dereferences to the [`Index`] of its records.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    lines: Lines,
    index: Index,
    torn_bytes: u64,
    leftovers: Leftovers,
}

impl Deref for Store {
    type Target = Index;

    fn deref(&self) -> &Index {
        &self.index
    }
}

impl Store {
    /// Opens or creates a run's folder for writing, and reads its records. A half-written last line,
    /// left by a program that was killed, is cut off; see [`torn_bytes`](Self::torn_bytes).
    ///
    /// # Errors
    /// Surroundings errors: the folder cannot be created or written, or another process holds it.
    /// Input errors: a line is not a record (names file and line), or the folder holds a condensed run.
    pub fn open(folder: &Path) -> Result<Store> {
        if folder.join(CONDENSED).exists() {
            return Err(Error::input(
                "a condensed run cannot be continued: it has no values per token",
            )
            .at(folder.display())
            .hint("continue the full run, or measure into another folder"));
        }
        std::fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))?;
        let path = folder.join(RECORDS);
        let mut lines = Lines::open(&path)?;
        let mut index = Index::default();
        let extent = read_into(&path, &mut index, Record::from_line)?;
        lines.cut_torn(&extent)?;
        let (torn_bytes, leftovers) = (extent.torn_bytes, swept(folder));
        Ok(Store { folder: folder.to_owned(), lines, index, torn_bytes, leftovers })
    }

    /// What killed processes had left in the folder, and what became of it when it was opened.
    pub fn leftovers(&self) -> &Leftovers {
        &self.leftovers
    }

    /// Bytes of the half-written line that opening cut off; 0 if there was none.
    pub fn torn_bytes(&self) -> u64 {
        self.torn_bytes
    }

    /// The run's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The records of the folder.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Appends a batch in one write and waits until it has reached the disk. Records that are already
    /// there are skipped.
    ///
    /// # Errors
    /// A record contradicts an earlier one (input) or holds a number that is not finite (bug), or the
    /// disk refuses (surroundings). In each case none of the batch is kept.
    pub fn append(&mut self, batch: &[Record]) -> Result<()> {
        let mut text = String::new();
        let mut added = Index::default();
        for record in batch {
            let line = record.to_line()?;
            // Read back, so that a report made now equals one made from the file later.
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
        self.append_to(SESSIONS, session.to_line()?)
    }

    /// Appends to `coding.jsonl` how long it took to code a layer.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn append_coded_layer(&self, layer: &CodedLayer) -> Result<()> {
        self.append_to(CODING, layer.to_line()?)
    }

    /// Appends a line to another file of the folder.
    fn append_to(&self, name: &str, line: String) -> Result<()> {
        let path = self.folder.join(name);
        let mut lines = Lines::open(&path)?;
        lines.cut_torn(&read_lines(&path, |_| Ok(()), |()| Ok(()))?)?;
        lines.append(&(line + "\n"))
    }
}

/// Sweeps up what killed processes left in a run's folder and in the folders in it.
fn swept(folder: &Path) -> Leftovers {
    let mut all = sweep(folder);
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    for below in folders.map(|entry| sweep(&entry.path())) {
        all.removed.extend(below.removed);
        all.left.extend(below.left);
    }
    all
}

/// Reads the sessions of a folder; empty if it has no file of sessions.
///
/// # Errors
/// A line is not a session.
pub fn read_sessions(folder: &Path) -> Result<Vec<Session>> {
    let path = folder.join(SESSIONS);
    let mut all = Vec::new();
    if path.exists() {
        read_lines(&path, Session::from_line, |session| {
            all.push(session);
            Ok(())
        })?;
    }
    Ok(all)
}

/// Adds a file's records, as `parse` reads them, to `index`.
pub(super) fn read_into(
    path: &Path,
    index: &mut Index,
    parse: impl Fn(&str) -> Result<Record> + Sync,
) -> Result<Extent> {
    read_lines(path, parse, |record| index.insert(record).map(|_| ()))
}

#[cfg(test)]
mod tests {
    use super::super::cell::Cell;
    use super::super::environment::Environment;
    use super::super::packaged::{Packaged, VerifiedLink};
    use super::super::record::{Done, Failure, Run, Window};
    use super::*;
    use crate::error::Exit;
    use crate::results::RunFolder;

    fn window(cell_id: &str, window: usize, nll_nats: f64) -> Record {
        let (cell_id, kl_tokens) = (cell_id.to_owned(), vec![0.1, 0.7]);
        let scored_tokens = kl_tokens.len();
        Record::Window(Window {
            cell_id,
            window,
            scored_tokens,
            nll_nats,
            kl_tokens,
            ..Window::default()
        })
    }

    fn done(cell_id: &str) -> Record {
        Record::Done(Done { cell_id: cell_id.into(), windows: 3, ..Done::default() })
    }

    #[test]
    fn packages_that_are_mended_are_the_latest_again() {
        let of = |links: Vec<VerifiedLink>| {
            let (cell_id, design) = ("a".to_owned(), "gpu".to_owned());
            Packaged { cell_id, design, links, ..Packaged::default() }
        };
        let (verified, broken) = (of(Vec::new()), of(vec![VerifiedLink::default()]));
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path()).unwrap();
        for packaged in [&verified, &verified, &broken, &verified] {
            store.append(&[Record::Packaged(packaged.clone())]).unwrap();
        }
        drop(store);
        let read = Store::open(folder.path()).unwrap();
        assert_eq!(read.index().records().len(), 3);
        assert_eq!(read.index().packaged("a"), [&verified]);
    }

    fn all() -> Vec<Record> {
        let cell = |id: &str| Record::Cell(Cell { cell_id: id.into(), ..Cell::default() });
        let mut records = vec![
            Record::Run(Run { model: "m".into(), windows: 3, scored_tokens: 6, ..Run::default() }),
            Record::Environment(Environment::default()),
            cell("a"),
            cell("b"),
        ];
        for index in 0..3 {
            records.push(window("a", index, 0.1 + index as f64 / 3.0));
            records.push(window("b", index, 0.2 + index as f64 / 7.0));
        }
        records.extend([done("a"), done("b")]);
        records
    }

    fn bytes(folder: &Path) -> Vec<u8> {
        std::fs::read(folder.join(RECORDS)).unwrap()
    }

    #[test]
    fn a_run_killed_anywhere_and_resumed_leaves_the_bytes_of_an_uninterrupted_one() {
        let folder = tempfile::tempdir().unwrap();
        let append = |store: &mut Store| {
            for batch in all().chunks(3) {
                store.append(batch).unwrap();
            }
        };
        append(&mut Store::open(folder.path()).unwrap());
        let whole = bytes(folder.path());
        // A step that is no divisor of anything meets line ends, line starts and middles.
        for kept in (0..whole.len()).step_by(29).chain([whole.len() - 1]) {
            std::fs::write(folder.path().join(RECORDS), &whole[..kept]).unwrap();
            let mut store = Store::open(folder.path()).unwrap();
            let is_at_line_end = kept == 0 || whole[kept - 1] == b'\n';
            assert_eq!(store.torn_bytes() == 0, is_at_line_end, "{kept}");
            append(&mut store);
            assert_eq!(bytes(folder.path()), whole, "killed after {kept} bytes");
        }
    }

    #[test]
    fn what_is_in_memory_is_what_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path()).unwrap();
        store.append(&all()).unwrap();
        let read = RunFolder::read(folder.path()).unwrap().index;
        assert_eq!(store.records(), read.records());
        assert_eq!(read.run().unwrap().model, "m");
        assert_eq!(read.windows_of("b").len(), 3);
        assert_eq!(read.window("b", 2), read.windows_of("b").last().copied());
        assert!(read.is_done("a") && !read.is_done("c"));
        assert_eq!(read.cells().count(), 2);
    }

    #[test]
    fn two_runs_cannot_write_one_folder() {
        let folder = tempfile::tempdir().unwrap();
        let first = Store::open(folder.path()).unwrap();
        let error = Store::open(folder.path()).unwrap_err();
        assert_eq!(error.exit(), Exit::Surroundings);
        assert!(error.to_string().contains(&*folder.path().to_string_lossy()), "{error}");
        drop(first);
        Store::open(folder.path()).unwrap();
    }

    #[test]
    fn a_bad_line_in_the_middle_is_named_by_file_and_line() {
        let folder = tempfile::tempdir().unwrap();
        Store::open(folder.path()).unwrap().append(&all()).unwrap();
        let text = String::from_utf8(bytes(folder.path())).unwrap();
        let mut lines: Vec<&str> = text.lines().collect();
        lines[4] = "{\"schema\":2,";
        std::fs::write(folder.path().join(RECORDS), lines.join("\n") + "\n").unwrap();
        let error = Store::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("records.jsonl: line 5: not a record"), "{error}");
    }

    #[test]
    fn a_newer_last_line_is_refused_not_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let line = "{\"schema\":99,\"kind\":\"window\"}\n";
        std::fs::write(folder.path().join(RECORDS), line).unwrap();
        let error = Store::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("line 1: schema 99 is newer"), "{error}");
        assert_eq!(bytes(folder.path()), line.as_bytes());
    }

    #[test]
    fn a_second_answer_to_one_question_is_refused_and_nothing_of_its_batch_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path()).unwrap();
        store.append(&all()).unwrap();
        let before = bytes(folder.path());
        let error = store.append(&[window("c", 0, 1.0), window("a", 1, 9.0)]).unwrap_err();
        assert!(error.to_string().contains("window 1 of a was measured before"), "{error}");
        store.append(&[window("c", 0, 1.0), window("c", 0, 2.0)]).unwrap_err();
        let other = Run { model: "n".into(), ..Run::default() };
        let error = store.append(&[Record::Run(other)]).unwrap_err().to_string();
        assert!(error.contains("model was \"m\" and is \"n\""), "{error}");
        assert_eq!(bytes(folder.path()), before);
        assert_eq!(store.windows_of("c").len(), 0);
    }

    #[test]
    fn the_same_window_twice_in_a_file_is_read_once() {
        let folder = tempfile::tempdir().unwrap();
        let lines = |second: Record| {
            let records = [Record::Run(Run::default()), window("a", 0, 1.0), second];
            let text: String = records.map(|one| one.to_line().unwrap() + "\n").concat();
            std::fs::write(folder.path().join(RECORDS), text).unwrap();
            RunFolder::read(folder.path())
        };
        assert_eq!(lines(window("a", 0, 1.0)).unwrap().index.records().len(), 2);
        let error = lines(window("a", 0, 2.0)).unwrap_err().to_string();
        assert!(error.contains("line 3: window 0 of a was measured before"), "{error}");
    }

    #[test]
    fn a_failure_counts_until_the_variant_is_done() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path()).unwrap();
        let failure = |cause: &str| {
            let (cell_id, cause) = ("a".to_owned(), cause.to_owned());
            Record::Failure(Failure { cell_id, cause, ..Failure::default() })
        };
        store.append(&[failure("cold"), failure("hot"), failure("hot")]).unwrap();
        assert_eq!(store.records().len(), 2);
        assert_eq!(store.failure_of("a").unwrap().cause, "hot");
        store.append(&[done("a")]).unwrap();
        assert_eq!(store.failure_of("a"), None);
    }

    #[test]
    fn shards_are_read_as_one_run() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let run = Record::Run(Run::default());
        for (folder, cell) in folders.iter().zip(["a", "b"]) {
            let mut store = Store::open(folder.path()).unwrap();
            store.append(&[run.clone(), window(cell, 0, 1.0)]).unwrap();
        }
        let paths = folders.each_ref().map(|folder| folder.path());
        let index = RunFolder::read_shards(&paths).unwrap().index;
        assert_eq!(index.records().len(), 3);
        let error = RunFolder::read(Path::new("/nowhere/at/all")).unwrap_err();
        assert_eq!(error.exit(), Exit::Input);
    }

    #[test]
    fn opening_a_folder_sweeps_up_what_killed_processes_left_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let left = ["packages/.palette4.evalkit-1-0.part", ".walk.state.evalkit-1-2.part"];
        let left = left.map(|name| folder.path().join(name));
        std::fs::create_dir_all(left[0].join("model.mlpackage")).unwrap();
        std::fs::write(&left[1], "").unwrap();
        std::fs::write(folder.path().join("packages/.notes.part"), "").unwrap();
        let store = Store::open(folder.path()).unwrap();
        let mut removed = store.leftovers().removed.clone();
        removed.sort();
        let mut expected = left.to_vec();
        expected.sort();
        assert_eq!(removed, expected);
        assert!(left.iter().all(|path| !path.exists()));
        assert!(folder.path().join("packages/.notes.part").exists());
    }

    #[test]
    fn sessions_are_kept_apart_from_records() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path()).unwrap();
        assert_eq!(read_sessions(folder.path()).unwrap(), []);
        let session = Session { threads: 2, outcome: "done".into(), ..Session::default() };
        store.append_session(&session).unwrap();
        let torn = std::fs::read_to_string(folder.path().join(SESSIONS)).unwrap() + "{\"sch";
        std::fs::write(folder.path().join(SESSIONS), torn).unwrap();
        store.append_session(&session).unwrap();
        assert_eq!(read_sessions(folder.path()).unwrap(), [session.clone(), session]);
        store.append(&[]).unwrap();
        assert_eq!(bytes(folder.path()), b"");
    }
}
