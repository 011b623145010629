//! A run's folder, read without changing it: what reports are made of.

use std::path::Path;

use super::blocks::read_lines;
use super::coding::CodedLayer;
use super::index::Index;
use super::measurement::{MEASUREMENTS, Measurement, read_into as read_measurements_into};
use super::record::{Record, Window};
use super::store::{CODING, RECORDS, read_into};
use crate::error::{Error, Result};

/// Everything that a run's folder holds, or the folders of its shards together.
#[derive(Debug, Clone, Default)]
pub struct RunFolder {
    /// The folder's own name.
    pub name: String,
    /// Hash of its records and measurements, in hexadecimal; of several shards, in their order.
    pub hash: String,
    /// Its records; empty for a folder that holds measurements alone.
    pub index: Index,
    /// What devices measured.
    pub measured: Vec<Measurement>,
    /// How long calibrated variants took to be coded.
    pub coding: Vec<CodedLayer>,
}

impl RunFolder {
    /// Reads a folder; half-written last lines are passed over.
    ///
    /// # Errors
    /// Input errors: it holds neither records nor measurements, a line is none (names file and
    /// line), or two records contradict each other.
    pub fn read(folder: &Path) -> Result<RunFolder> {
        RunFolder::read_shards(&[folder])
    }

    /// Reads a folder without what its windows hold per token and per expert, which is most of it:
    /// whoever needs sums alone holds a fraction of the memory.
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
        for folder in folders {
            let folder = folder.as_ref();
            let (records, measured) = (folder.join(RECORDS), folder.join(MEASUREMENTS));
            if !(records.exists() || measured.exists()) {
                let what = format!("expected {RECORDS} or {MEASUREMENTS}, found neither");
                return Err(Error::input(what)
                    .at(folder.display())
                    .hint("give the folder of a run, as sweep and bench name it"));
            }
            if records.exists() {
                let extent = read_into(&records, &mut read.index, parse)?;
                hasher.update(extent.hasher.finalize().as_bytes());
            }
            if measured.exists() {
                let extent = read_measurements_into(&measured, &mut read.measured)?;
                hasher.update(extent.hasher.finalize().as_bytes());
            }
            let coding = folder.join(CODING);
            if coding.exists() {
                read_lines(&coding, CodedLayer::from_line, |layer| {
                    read.coding.push(layer);
                    Ok(())
                })?;
            }
        }
        read.name = folders.first().map_or(String::new(), |folder| name_of(folder.as_ref()));
        read.hash = hasher.finalize().to_hex().to_string();
        Ok(read)
    }
}

/// A record without what it holds per token and per expert.
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

/// The last part of a path, of `.` and `..` where they lead.
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
            nll_nats: window as f64 / 3.0,
            kl_tokens: vec![0.25; 9],
            expert_load: vec![vec![1, 2]],
            ..Window::default()
        };
        let records: Vec<Record> = (0..3).map(|at| Record::Window(window(at))).collect();
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
    fn a_folder_is_known_by_what_it_holds_and_a_torn_end_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let error = RunFolder::read(folder.path()).unwrap_err();
        assert!(error.to_string().contains("found neither"), "{error}");
        Store::open(folder.path()).unwrap().append(&[Record::Run(Run::default())]).unwrap();
        let whole = RunFolder::read(folder.path()).unwrap();
        let path = folder.path().join(RECORDS);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text + "{\"schema\":1,\"ki").unwrap();
        let torn = RunFolder::read(folder.path()).unwrap();
        assert_eq!((&torn.hash, torn.index.records()), (&whole.hash, whole.index.records()));
        assert_eq!(torn.name, folder.path().file_name().unwrap().to_string_lossy());
        let both = RunFolder::read_shards(&[folder.path(), folder.path()]).unwrap();
        assert_eq!(both.index.records().len(), 1);
        assert_ne!(both.hash, whole.hash);
    }
}
