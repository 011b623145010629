//! A run's folder, read without changing it: the input of every report.

use std::collections::BTreeMap;
use std::path::Path;

use super::blocks::read_lines;
use super::coding::{CodedLayer, coding_ms};
use super::condensed::{CONDENSED, read_into as read_condensed_into};
use super::index::Index;
use super::measurement::{MEASUREMENTS, Measurement, read_into as read_measurements_into};
use super::record::{Record, Window};
use super::store::read_into;
use super::{CODING, RECORDS};
use crate::error::{Error, Exit, Result};

/// Everything that a run's folder holds; for a sharded run, the folders of all shards together.
#[derive(Debug, Clone, Default)]
pub struct RunFolder {
    /// The folder's name.
    pub name: String,
    /// Hash of its records and measurements, in hexadecimal; it depends on the order of shards. A
    /// condensed run has the hash of the run that it was made from.
    pub hash: String,
    /// Its records; empty for a folder that holds only measurements.
    pub index: Index,
    /// What devices measured.
    pub measured: Vec<Measurement>,
    /// Wall time of coding calibrated variants, by cell.
    pub coding_ms: BTreeMap<String, f64>,
    /// Whether values per token were dropped when the run was condensed.
    pub is_condensed: bool,
}

impl RunFolder {
    /// Reads a folder; half-written last lines are ignored.
    ///
    /// # Errors
    /// Input errors: it holds neither records nor measurements, a line is bad (names file and line), two
    /// records contradict each other, or none says what was run.
    pub fn read(folder: &Path) -> Result<RunFolder> {
        RunFolder::read_shards(&[folder])
    }

    /// Reads a folder without the values per token and per expert of its windows, which are most of it:
    /// for callers that need only sums, this takes a fraction of the memory.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    pub fn read_sums(folder: &Path) -> Result<RunFolder> {
        RunFolder::read_as(&[folder], sums)
    }

    /// Reads the shards of one run together, under the first one's name.
    ///
    /// # Errors
    /// As for [`read`](Self::read); shards of different runs.
    pub fn read_shards<P: AsRef<Path>>(folders: &[P]) -> Result<RunFolder> {
        RunFolder::read_as(folders, Record::from_line)
    }

    fn read_as<P: AsRef<Path>>(
        folders: &[P],
        parse: fn(&str) -> Result<Record>,
    ) -> Result<RunFolder> {
        let mut read = RunFolder::default();
        let mut hasher = blake3::Hasher::new();
        let mut layers = Vec::new();
        for folder in folders {
            let folder = folder.as_ref();
            let hash = read.add_records(folder, parse)?;
            hash.into_iter().for_each(|hash| _ = hasher.update(hash.as_bytes()));
            let measured = folder.join(MEASUREMENTS);
            if measured.exists() {
                let extent = read_measurements_into(&measured, &mut read.measured)?;
                hasher.update(extent.hasher.finalize().as_bytes());
            } else if hash.is_none() {
                let what = format!("expected {RECORDS} or {MEASUREMENTS}, found neither");
                return Err(Error::input(what)
                    .at(folder.display())
                    .hint("give the folder of a run, as sweep and bench name it"));
            }
            let coding = folder.join(CODING);
            if coding.exists() {
                read_lines(&coding, CodedLayer::from_line, |layer| {
                    layers.push(layer);
                    Ok(())
                })?;
            }
        }
        if let Some(folder) = folders.first().filter(|_| read.is_empty()) {
            return Err(Error::input("this run holds no records yet")
                .at(folder.as_ref().display())
                .hint("run the command that began it again; it measures what is missing"));
        }
        if let Some(folder) = folders.first().filter(|_| read.is_nameless()) {
            return Err(Error::input("the records do not say what was run: their line \"run\" is missing")
                .at(folder.as_ref().display())
                .hint(
                    "the same sweep on the same folder writes it again; or take the records from a copy",
                ));
        }
        read.coding_ms.extend(coding_ms(&layers));
        read.name = folders.first().map_or(String::new(), |folder| name_of(folder.as_ref()));
        read.hash = hasher.finalize().to_hex().to_string();
        Ok(read)
    }

    /// Refuses a run whose records lost lines since they were written.
    ///
    /// # Errors
    /// The answer is no: a finished variant has other windows than its end says, or a variant has windows
    /// or an end, but no record of its own.
    pub fn check_whole(&self) -> Result<()> {
        let Some((variant, how)) = self.index.all_lost().into_iter().next() else { return Ok(()) };
        Err(Error::new(Exit::No, format!("this run is invalid: {variant}: {how}"))
            .at(&self.name)
            .hint("the same sweep on the same folder scores what is missing; or take the records from a copy"))
    }

    /// Whether nothing was measured: a command that began the run was killed at once.
    fn is_empty(&self) -> bool {
        self.index.records().is_empty() && self.measured.is_empty()
    }

    /// Whether there are records, but none of what was asked: nothing then says which windows of which
    /// text they are about, or how many there should be.
    fn is_nameless(&self) -> bool {
        !self.index.records().is_empty() && self.index.run().is_none()
    }

    /// Adds a folder's records, full or condensed, and returns the hash of the file of full records;
    /// `None` if there are no records.
    fn add_records(
        &mut self,
        folder: &Path,
        parse: fn(&str) -> Result<Record>,
    ) -> Result<Option<blake3::Hash>> {
        let (full, condensed) = (folder.join(RECORDS), folder.join(CONDENSED));
        match (full.exists(), condensed.exists()) {
            (true, true) => {
                let what = format!("expected {RECORDS} or {CONDENSED}, found both");
                Err(Error::input(what).at(folder.display()).hint("keep one of the two"))
            }
            (true, false) => {
                let extent = read_into(&full, &mut self.index, parse)?;
                Ok(Some(extent.hasher.finalize()))
            }
            (false, true) => {
                let hash = read_condensed_into(&condensed, &mut self.index)?;
                self.is_condensed = true;
                let known = self.index.all_totals();
                self.coding_ms.extend(
                    known.filter_map(|(id, totals)| Some((id.to_owned(), totals.coding_ms?))),
                );
                Ok(Some(hash))
            }
            (false, false) => Ok(None),
        }
    }
}

/// A record without its values per token and per expert.
fn sums(line: &str) -> Result<Record> {
    Ok(match Record::from_line(line)? {
        Record::Window(window) => Record::Window(Window {
            kl_tokens: Vec::new(),
            router_agree: Vec::new(),
            expert_load: Vec::new(),
            ..window
        }),
        record => record,
    })
}

/// The last name of a path, with `.` and `..` resolved.
fn name_of(folder: &Path) -> String {
    let resolved = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    resolved.file_name().map_or(String::new(), |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{Run, Store};

    #[test]
    fn sums_are_those_of_the_records_without_their_tokens() {
        let folder = tempfile::tempdir().unwrap();
        let window = |window: usize| Window {
            window,
            scored_tokens: 9,
            nll_nats: window as f64 / 3.0,
            kl_tokens: vec![0.25; 9],
            expert_load: vec![vec![1, 2]],
            ..Window::default()
        };
        let mut records: Vec<Record> = (0..3).map(|at| Record::Window(window(at))).collect();
        records.push(Record::Run(Run::default()));
        Store::open(folder.path()).unwrap().append(&records).unwrap();
        let (all, sums) =
            (RunFolder::read(folder.path()).unwrap(), RunFolder::read_sums(folder.path()).unwrap());
        assert_eq!(all.hash, sums.hash);
        assert_eq!(all.index.windows_of("").len(), 3);
        for (at, found) in sums.index.windows_of("").into_iter().enumerate() {
            let bare = Window { kl_tokens: Vec::new(), expert_load: Vec::new(), ..window(at) };
            assert_eq!(*found, bare);
        }
    }

    #[test]
    fn records_that_do_not_say_what_was_run_are_refused_however_they_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let done = Record::Done(crate::results::Done::default());
        Store::open(folder.path()).unwrap().append(&[done]).unwrap();
        let readers = [RunFolder::read, RunFolder::read_sums];
        for read in readers {
            let error = read(folder.path()).unwrap_err();
            assert_eq!(error.exit().code(), 2);
            let text = error.to_string();
            assert!(text.contains("the records do not say what was run"), "{text}");
            assert!(text.contains(&*folder.path().to_string_lossy()), "{text}");
        }
        Store::open(folder.path()).unwrap().append(&[Record::Run(Run::default())]).unwrap();
        readers.into_iter().for_each(|read| _ = read(folder.path()).unwrap());
    }

    #[test]
    fn a_folder_is_known_by_what_it_holds_and_a_torn_end_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let error = RunFolder::read(folder.path()).unwrap_err();
        assert!(error.to_string().contains("found neither"), "{error}");
        drop(Store::open(folder.path()).unwrap());
        let error = RunFolder::read(folder.path()).unwrap_err();
        assert!(error.to_string().contains("holds no records yet"), "{error}");
        assert_eq!(error.exit().code(), 2);
        Store::open(folder.path()).unwrap().append(&[Record::Run(Run::default())]).unwrap();
        let whole = RunFolder::read(folder.path()).unwrap();
        let path = folder.path().join(RECORDS);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text + "{\"schema\":2,\"ki").unwrap();
        let torn = RunFolder::read(folder.path()).unwrap();
        assert_eq!((&torn.hash, torn.index.records()), (&whole.hash, whole.index.records()));
        assert_eq!(torn.name, folder.path().file_name().unwrap().to_string_lossy());
        let both = RunFolder::read_shards(&[folder.path(), folder.path()]).unwrap();
        assert_eq!(both.index.records().len(), 1);
        assert_ne!(both.hash, whole.hash);
    }
}
