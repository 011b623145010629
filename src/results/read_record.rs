//! How a line becomes a record: parsed, then held to the range of every number in it.

use super::cell::Cell;
use super::head::{Head, UPDATE, check_schema};
use super::ranges::{MOST, MOST_TOKENS, count, distance, impossible, nats, number};
use super::record::{Done, Record, Run, Window};
use super::{Packaged, VerifiedLink};
use crate::error::{Error, Result};

impl Record {
    /// Reads a line written by this or an older version; unknown fields are ignored.
    ///
    /// # Errors
    /// Bad JSON, an unknown kind, a missing field, a newer schema, or a number that nothing can measure.
    /// The caller adds file and line number.
    pub fn from_line(line: &str) -> Result<Record> {
        let bad = |e: serde_json::Error| Error::input("not a record").because(e);
        let head = Head::of(line).map_err(bad)?;
        check_schema(head.schema)?;
        let record = match &*head.kind {
            "run" => serde_json::from_str(line).map(Record::Run),
            "environment" => serde_json::from_str(line).map(Record::Environment),
            "cell" => serde_json::from_str(line).map(Record::Cell),
            "window" => serde_json::from_str(line).map(Record::Window),
            "done" => serde_json::from_str(line).map(Record::Done),
            "failure" => serde_json::from_str(line).map(Record::Failure),
            "packaged" => serde_json::from_str(line).map(Record::Packaged),
            other => {
                return Err(Error::input(format!("unknown kind of record {other:?}")).hint(UPDATE));
            }
        }
        .map_err(bad)?;
        check_record(&record)?;
        Ok(record)
    }
}

/// Refuses (input) a record with an impossible number.
fn check_record(record: &Record) -> Result<()> {
    match record {
        Record::Run(run) => check_run(run),
        Record::Cell(cell) => check_cell(cell),
        Record::Window(window) => check_window(window)
            .map_err(|e| e.at(format!("window {} of {}", window.window, window.cell_id))),
        Record::Done(done) => check_done(done),
        Record::Packaged(packaged) => check_packaged(packaged),
        Record::Environment(_) | Record::Failure(_) => Ok(()),
    }
}

fn check_run(run: &Run) -> Result<()> {
    count("text_bytes", run.text_bytes, MOST)?;
    count("parameters", run.parameters, MOST)?;
    let counts = [
        ("window_tokens", run.window_tokens),
        ("stride_tokens", run.stride_tokens),
        ("windows", run.windows),
        ("layers", run.layers),
        ("vocabulary", run.vocabulary),
    ];
    counts.into_iter().try_for_each(|(name, value)| count(name, value as u64, MOST_TOKENS))?;
    count("scored_tokens", run.scored_tokens as u64, MOST)?;
    let floor = run.entropy_floor_nats_per_byte.unwrap_or(0.0);
    number("entropy_floor_nats_per_byte", floor, 0.0, 256_f64.ln())
}

fn check_cell(cell: &Cell) -> Result<()> {
    let (mut size_bytes, mut weights) = (0_u64, 0_u64);
    for part in &cell.parts {
        size_bytes = size_bytes.saturating_add(part.size_bytes);
        weights = weights.saturating_add(part.weights);
    }
    let place = |e: Error| e.at(format!("variant {}", cell.variant));
    count("size_bytes", size_bytes, MOST).and(count("weights", weights, MOST)).map_err(place)
}

/// Refuses (input) a window with an impossible sum.
pub(super) fn check_window(window: &Window) -> Result<()> {
    let tokens = window.scored_tokens;
    count("window", window.window as u64, MOST_TOKENS)?;
    count("scored_tokens", tokens as u64, MOST_TOKENS)?;
    count("scored_bytes", window.scored_bytes, MOST)?;
    count("top1_agree", window.top1_agree as u64, tokens as u64)?;
    nats("nll_nats", window.nll_nats, tokens)?;
    nats("kl_nats", window.kl_nats, tokens)?;
    let of_tokens = window.kl_tokens.len();
    if of_tokens != 0 && of_tokens != tokens {
        let what = format!("kl_tokens has {of_tokens} values, expected one for each of {tokens}");
        return Err(impossible(what));
    }
    for kl in &window.kl_tokens {
        nats("a value of kl_tokens", f64::from(*kl), 1)?;
    }
    let routed = u64::from(window.routed_tokens);
    let agree = window.router_agree.iter().map(|agree| u64::from(*agree));
    agree.into_iter().try_for_each(|agree| count("router_agree", agree, routed))
}

fn check_done(done: &Done) -> Result<()> {
    count("windows", done.windows as u64, MOST_TOKENS)?;
    let scales = done.input_scales.iter().map(|input| f64::from(input.scale));
    scales.into_iter().try_for_each(|scale| number("scale", scale, 0.0, f64::from(f32::MAX)))
}

fn check_packaged(packaged: &Packaged) -> Result<()> {
    count("size_bytes", packaged.size_bytes, MOST)?;
    count("predicted_bytes", packaged.predicted_bytes, MOST)?;
    packaged.links.iter().try_for_each(|link| {
        let VerifiedLink { tokens, kl_nats, worst_kl_nats, top1_agree, .. } = link;
        distance(*tokens, *kl_nats, *worst_kl_nats, *top1_agree)
            .map_err(|e| e.at(format!("link {}", link.link)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{RECORDS, RunFolder};

    const WINDOW: &str = r#"{"schema":2,"kind":"window","cell_id":"c","window":1,"scored_tokens":2,"scored_bytes":9,"nll_nats":4.25,"kl_nats":0.5,"top1_agree":1,"kl_tokens":[0.125,0.375]}"#;

    #[test]
    fn a_window_with_an_impossible_number_is_refused_by_file_and_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(RECORDS);
        let read = |line: &str| {
            let run = Record::Run(Run::default()).to_line().unwrap();
            let done = r#"{"schema":2,"kind":"done","cell_id":"x","windows":0,"coded_hash":""}"#;
            std::fs::write(&path, format!("{run}\n{line}\n{done}\n")).unwrap();
            RunFolder::read_sums(folder.path())
        };
        read(WINDOW).unwrap();
        for (from, to) in [
            ("4.25", "1e200"),
            ("4.25", "-1"),
            ("4.25", "1e308"),
            (":0.5", ":-0.5"),
            (":0.5", ":1e300"),
            ("0.375]", "-3]"),
            ("0.375]", "0.1,0.2]"),
            ("\"top1_agree\":1", "\"top1_agree\":3"),
            ("\"scored_tokens\":2", "\"scored_tokens\":0"),
            ("\"scored_bytes\":9", "\"scored_bytes\":18446744073709551615"),
            ("\"kl_tokens\"", "\"router_agree\":[9],\"kl_tokens\""),
        ] {
            assert!(WINDOW.contains(from), "{from}");
            let error = read(&WINDOW.replacen(from, to, 1)).unwrap_err();
            assert_eq!(error.exit().code(), 2, "{to}");
            assert!(error.to_string().contains("records.jsonl: line 2: "), "{to}: {error}");
            assert!(error.to_string().contains("hint: no measurement"), "{to}: {error}");
            let longest = error.to_string().split_whitespace().map(str::len).max();
            assert!(longest < Some(30 + path.to_string_lossy().len()), "{to}: {error}");
        }
    }

    #[test]
    fn every_kind_of_record_is_held_to_its_ranges() {
        let part = r#"{"part":"mlp","recipe":"fp","weights":1,"size_bytes":18446744073709551615}"#;
        for line in [
            format!(r#"{{"schema":2,"kind":"cell","cell_id":"c","variant":"fp","parts":[{part},{part}],"is_reference":true}}"#),
            r#"{"schema":2,"kind":"done","cell_id":"c","windows":18446744073709551615,"coded_hash":""}"#.into(),
            r#"{"schema":2,"kind":"done","cell_id":"c","windows":1,"coded_hash":"","input_scales":[{"input":"mlp","scale":-1.0}]}"#.into(),
            r#"{"schema":2,"kind":"packaged","cell_id":"c","design":"d","packages":1,"size_bytes":1,"predicted_bytes":1,"links":[{"link":"steps","holds":true,"what":"","tokens":1,"kl_nats":-1.0,"worst_kl_nats":0.0,"top1_agree":1}]}"#.into(),
        ] {
            let error = Record::from_line(&line).unwrap_err();
            assert!(error.to_string().contains("expected"), "{line}: {error}");
        }
    }
}
