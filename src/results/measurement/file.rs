//! The file of measurements: append-only, locked while written, whole after a crash.

use std::path::Path;

use super::Measurement;
use super::check::check_measurement;
use crate::error::{Error, Result};
use crate::results::blocks::{Extent, read_lines};
use crate::results::head::{from_line, to_line};
use crate::results::lines::Lines;

/// Name of the file of measurements in a run's folder.
pub const MEASUREMENTS: &str = "measurements.jsonl";

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
    /// The file cannot be written or another process holds it (surroundings), or a line in it is not
    /// a measurement (input).
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

    /// Appends a measurement, and waits until it has reached the disk.
    ///
    /// # Errors
    /// It holds a number that nothing can measure (input), or the disk refuses; the file is then unchanged.
    pub fn append(&mut self, measurement: Measurement) -> Result<()> {
        check_measurement(&measurement)?;
        let text = to_line(&measurement, "a measurement")?;
        self.lines.append(&(text + "\n"))?;
        self.all.push(measurement);
        Ok(())
    }
}

/// Adds a file's measurements to `all`.
pub(in crate::results) fn read_into(path: &Path, all: &mut Vec<Measurement>) -> Result<Extent> {
    read_lines(
        path,
        |line| {
            let one = from_line(line, "a measurement")?;
            check_measurement(&one)?;
            Ok(one)
        },
        |one| {
            all.push(one);
            Ok(())
        },
    )
}

#[cfg(test)]
mod tests {
    use super::super::{Attempt, AttemptOutcome, Repetition};
    use super::*;
    use crate::results::runner::Generated;

    fn read(folder: &Path) -> Result<Vec<Measurement>> {
        let mut all = Vec::new();
        read_into(&folder.join(MEASUREMENTS), &mut all)?;
        Ok(all)
    }

    fn repetition(outcome: AttemptOutcome) -> Measurement {
        let attempt = Attempt { device: "host".into(), attempts: 1, outcome, ..Attempt::default() };
        let generated = Generated { ttft_ms: 1.5, token_ms: vec![0.25, 0.1], ..Default::default() };
        let generated = Some(generated);
        Measurement::Repetition(Repetition { attempt, generated, ..Repetition::default() })
    }

    #[test]
    fn measurements_survive_a_torn_line_name_a_broken_one_and_are_read_in_every_schema() {
        let folder = tempfile::tempdir().unwrap();
        let reason = "thermal state rose to serious".to_owned();
        let all =
            [repetition(AttemptOutcome::Kept), repetition(AttemptOutcome::Rejected { reason })];
        let mut file = Measurements::open(folder.path()).unwrap();
        all.iter().for_each(|one| file.append(one.clone()).unwrap());
        drop(file);
        assert_eq!(read(folder.path()).unwrap(), all);
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
        let error = read(folder.path()).unwrap_err().to_string();
        assert!(error.contains("line 1: not a measurement"), "{error}");
        let older = [
            r#"{"schema":1,"kind":"truth","device":"host","package":"p","holds":false,"tokens":1,"kl_nats":1.7976931348623157e308,"worst_kl_nats":0.5,"top1_agree":0,"max_logit_difference":1.0,"device_nll_nats":2.0,"host_nll_nats":3.0}"#,
            r#"{"schema":1,"kind":"trouble","device":"host","step":"send","reason":"gone"}"#,
        ];
        std::fs::write(&path, older.join("\n") + "\n").unwrap();
        let all = read(folder.path()).unwrap();
        let Measurement::CorrectnessCheck(check) = &all[0] else { panic!("{all:?}") };
        assert_eq!((check.kl_nats, check.worst_kl_nats), (None, Some(0.5)));
        assert!(matches!(&all[1], Measurement::FailedStep(step) if step.step == "send"));
        std::fs::write(&path, "{\"schema\":99,\"kind\":\"novelty\"}\n").unwrap();
        let error = read(folder.path()).unwrap_err().to_string();
        assert!(error.contains("99"), "{error}");
    }
}
