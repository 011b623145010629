//! The file of measurements: append-only, locked while written, whole after a crash.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Measurement;
use crate::error::{Error, Result};
use crate::results::blocks::{Extent, read_lines};
use crate::results::head::check_schema;
use crate::results::lines::Lines;
use crate::results::record::SCHEMA;

/// Name of the file of measurements in a run's folder.
pub const MEASUREMENTS: &str = "measurements.jsonl";

#[derive(Serialize, Deserialize)]
struct Line<M> {
    schema: u32,
    #[serde(flatten)]
    measurement: M,
}

/// The file of measurements of a run's folder, held for writing.
#[derive(Debug)]
pub struct Measurements {
    lines: Lines,
    all: Vec<Measurement>,
}

impl Measurements {
    /// Opens or creates the file; a half-written last line is cut off.
    ///
    /// # Errors
    /// The file cannot be written or is held by another process (surroundings), or a line in it is
    /// no measurement (input).
    pub fn open(folder: &Path) -> Result<Measurements> {
        std::fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))?;
        let path = folder.join(MEASUREMENTS);
        let mut lines = Lines::open(&path)?;
        let mut all = Vec::new();
        lines.cut_torn(&read_into(&path, &mut all)?)?;
        Ok(Measurements { lines, all })
    }

    /// What the file holds.
    pub fn all(&self) -> &[Measurement] {
        &self.all
    }

    /// Appends one, and waits until it has reached the disk.
    ///
    /// # Errors
    /// The disk refuses; what was there stays.
    pub fn append(&mut self, measurement: Measurement) -> Result<()> {
        let line = Line { schema: SCHEMA, measurement: &measurement };
        let text = serde_json::to_string(&line)
            .map_err(|e| Error::bug("cannot write a measurement as JSON").because(e))?;
        self.lines.append(&(text + "\n"))?;
        self.all.push(measurement);
        Ok(())
    }
}

/// The measurements of a folder; none if it has no such file.
///
/// # Errors
/// A line is no measurement (input; names file and line).
pub fn read_measurements(folder: &Path) -> Result<Vec<Measurement>> {
    let path = folder.join(MEASUREMENTS);
    let mut all = Vec::new();
    if path.exists() {
        read_into(&path, &mut all)?;
    }
    Ok(all)
}

/// Adds a file's measurements to `all`.
pub(in crate::results) fn read_into(path: &Path, all: &mut Vec<Measurement>) -> Result<Extent> {
    read_lines(path, from_line, |one| {
        all.push(one);
        Ok(())
    })
}

fn from_line(line: &str) -> Result<Measurement> {
    let bad = |e: serde_json::Error| Error::input("not a measurement").because(e);
    let line: Line<serde_json::Value> = serde_json::from_str(line).map_err(bad)?;
    check_schema(line.schema)?;
    serde_json::from_value(line.measurement).map_err(bad)
}

#[cfg(test)]
mod tests {
    use super::super::{Attempt, Outcome, Repetition};
    use super::*;
    use crate::results::runner::Generated;

    fn repetition(outcome: Outcome) -> Measurement {
        let attempt = Attempt { device: "host".into(), attempts: 1, outcome, ..Attempt::default() };
        let generated = Generated { ttft_ms: 1.5, token_ms: vec![0.25, 0.1], ..Default::default() };
        let generated = Some(generated);
        Measurement::Repetition(Repetition { attempt, generated, ..Repetition::default() })
    }

    #[test]
    fn measurements_survive_a_torn_line_and_name_a_broken_one() {
        let folder = tempfile::tempdir().unwrap();
        let reason = "thermal state rose to serious".to_owned();
        let all = [repetition(Outcome::Kept), repetition(Outcome::Rejected { reason })];
        let mut file = Measurements::open(folder.path()).unwrap();
        all.iter().for_each(|one| file.append(one.clone()).unwrap());
        drop(file);
        assert_eq!(read_measurements(folder.path()).unwrap(), all);
        let path = folder.path().join(MEASUREMENTS);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 5]).unwrap();
        let mut file = Measurements::open(folder.path()).unwrap();
        assert_eq!(file.all(), &all[..1]);
        file.append(all[1].clone()).unwrap();
        drop(file);
        assert_eq!(std::fs::read(&path).unwrap(), whole);
        let broken = [b"{\"schema\":1,\"kind\":\"repetition\"}\n".as_slice(), &whole].concat();
        std::fs::write(&path, broken).unwrap();
        let error = read_measurements(folder.path()).unwrap_err().to_string();
        assert!(error.contains("line 1: not a measurement"), "{error}");
        std::fs::write(&path, "{\"schema\":99,\"kind\":\"novelty\"}\n").unwrap();
        let error = read_measurements(folder.path()).unwrap_err().to_string();
        assert!(error.contains("99"), "{error}");
    }
}
