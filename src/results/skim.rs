//! Reading large stores for their sums: every record, but without what is kept per token.
//!
//! A line of a window holds a divergence for each of its tokens, which is nine tenths of the file.
//! Whoever needs means and sums alone reads block by block, parses the lines of a block in
//! parallel, and never holds the file.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rayon::prelude::*;
use serde::Deserialize;

use super::index::Index;
use super::lines::whole_bytes;
use super::record::{Record, SCHEMA, Window};
use super::store::{RECORDS, is_json};
use crate::error::{Error, Result};

/// Bytes that are read at a time.
const BLOCK_BYTES: u64 = 8 << 20;

/// A window without its tokens and experts.
#[derive(Deserialize)]
struct Sums {
    cell_id: String,
    window: usize,
    scored_tokens: usize,
    scored_bytes: u64,
    nll_nats: f64,
    kl_nats: f64,
    top1_agree: usize,
}

/// Reads a folder's records without changing it, windows without their tokens and experts; a
/// half-written last line is passed over.
///
/// # Errors
/// The folder holds no records, or a line is not a record or contradicts another (input; names file
/// and line).
pub fn read_sums(folder: &Path) -> Result<Index> {
    let path = folder.join(RECORDS);
    let failed = |e| Error::io("read", &path, e);
    let mut file = File::open(&path).map_err(failed)?;
    let mut skim = Skim { path: &path, index: Index::default(), lines: 0 };
    let mut bytes = Vec::new();
    loop {
        let read = (&mut file).take(BLOCK_BYTES).read_to_end(&mut bytes).map_err(failed)?;
        if read == 0 {
            let end = whole_bytes(&bytes, is_json);
            skim.block(&bytes[..end])?;
            return Ok(skim.index);
        }
        // The last whole line waits: it may be the file's last, which may be torn.
        let is_end = |at: &usize| bytes[*at] == b'\n';
        let mut ends = (0..bytes.len()).rev().filter(is_end);
        if let (Some(_), Some(end)) = (ends.next(), ends.next()) {
            skim.block(&bytes[..=end])?;
            bytes.drain(..=end);
        }
    }
}

/// What was read so far.
struct Skim<'a> {
    path: &'a Path,
    index: Index,
    lines: usize,
}

impl Skim<'_> {
    /// Adds whole lines.
    fn block(&mut self, bytes: &[u8]) -> Result<()> {
        let lines: Vec<&[u8]> = bytes.split_inclusive(|&byte| byte == b'\n').collect();
        let records: Vec<Result<Record>> = lines.par_iter().map(|line| record(line)).collect();
        for record in records {
            self.lines += 1;
            let inserted = record.and_then(|record| self.index.insert(record));
            inserted.map_err(|e| e.at(format!("line {}", self.lines)).at(self.path.display()))?;
        }
        Ok(())
    }
}

fn record(line: &[u8]) -> Result<Record> {
    let line = std::str::from_utf8(line).map_err(|_| Error::input("not UTF-8"))?.trim_end();
    if !line.starts_with(&format!("{{\"schema\":{SCHEMA},\"kind\":\"window\",")) {
        return Record::from_line(line);
    }
    let Sums { cell_id, window, scored_tokens, scored_bytes, nll_nats, kl_nats, top1_agree } =
        serde_json::from_str(line).map_err(|e| Error::input("not a record").because(e))?;
    Ok(Record::Window(Window {
        cell_id,
        window,
        scored_tokens,
        scored_bytes,
        nll_nats,
        kl_nats,
        top1_agree,
        ..Window::default()
    }))
}

#[cfg(test)]
mod tests {
    use super::super::record::{Cell, Run};
    use super::super::store::{Store, read_records};
    use super::*;

    fn window(window: usize, tokens: usize) -> Record {
        Record::Window(Window {
            cell_id: "a".into(),
            window,
            nll_nats: window as f64 / 3.0,
            kl_tokens: vec![0.25; tokens],
            expert_load: vec![vec![1, 2]],
            ..Window::default()
        })
    }

    #[test]
    fn sums_are_those_of_the_records_whatever_the_blocks() {
        let folder = tempfile::tempdir().unwrap();
        let mut records = vec![
            Record::Run(Run::default()),
            Record::Cell(Cell { cell_id: "a".into(), ..Cell::default() }),
        ];
        // Lines of 1.5 MB, so that several blocks are read.
        records.extend((0..24).map(|at| window(at, 300_000)));
        Store::open(folder.path()).unwrap().append(&records).unwrap();
        let (all, sums) =
            (read_records(&[folder.path()]).unwrap(), read_sums(folder.path()).unwrap());
        assert_eq!(sums.records().len(), all.records().len());
        for (ours, theirs) in sums.windows_of("a").iter().zip(all.windows_of("a")) {
            let bare = Window { kl_tokens: Vec::new(), expert_load: Vec::new(), ..theirs.clone() };
            assert_eq!(**ours, bare);
        }
    }

    #[test]
    fn a_torn_last_line_is_passed_over_and_one_in_the_middle_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(RECORDS);
        let lines = [0, 1, 2].map(|at| window(at, 2).to_line().unwrap());
        let write = |lines: &[&str]| std::fs::write(&path, lines.join("\n")).unwrap();
        for torn in ["", "{\"schema\":1,\"kind\":\"wind", "{\"schema\":1,\"kind\":\"wind\n"] {
            write(&[&lines[0], &lines[1], torn]);
            assert_eq!(read_sums(folder.path()).unwrap().records().len(), 2, "{torn:?}");
        }
        write(&[&lines[0], &lines[1][..40], &lines[2], ""]);
        let error = read_sums(folder.path()).unwrap_err().to_string();
        assert!(error.contains("records.jsonl: line 2: not a record"), "{error}");
        write(&[&lines[0], "{\"schema\":99,\"kind\":\"window\"}", ""]);
        let error = read_sums(folder.path()).unwrap_err().to_string();
        assert!(error.contains("line 2: schema 99 is newer"), "{error}");
    }
}
