//! The range of every number in a stored line. JSON holds numbers that nothing can measure: a sum of
//! 1e200 nats, more agreeing tokens than tokens, a negative time. Such a line is damaged or made up. It
//! is refused where it is read, so that file and line can be named, and no later step meets it.

use super::cell::Cell;
use super::condensed::KlQuantiles;
use super::measurement::{CorrectnessCheck, Measurement};
use super::record::{Done, Record, Run, Window};
use super::runner::{Figures, Generated, Loaded};
use super::{Packaged, VerifiedLink};
use crate::error::{Error, Result};

/// The largest negative log likelihood and divergence of a token: logits are f32, so no two of them are
/// further apart.
const MOST_NATS: f64 = 2.0 * f32::MAX as f64;
/// How far below zero rounding may take a likelihood or divergence of a token.
const ROUNDING_NATS: f64 = 1e-6;
/// The largest time: about thirty years.
const MOST_MS: f64 = 1e12;
/// The largest number of bytes or weights. A few million of them can be added.
const MOST: u64 = 1 << 50;
/// The largest number of tokens or windows in a line. A few million of them can be added.
const MOST_TOKENS: u64 = 1 << 32;
/// The fastest memory, in GB/s.
const MOST_GB_PER_S: f64 = 1e9;

/// Refuses (input) a record with an impossible number.
pub(super) fn check_record(record: &Record) -> Result<()> {
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

/// Refuses (input) impossible quantiles of a condensed run.
pub(super) fn check_quantiles(found: &KlQuantiles) -> Result<()> {
    count("tokens", found.tokens as u64, MOST)?;
    nats("median_nats", found.median_nats, 1)?;
    nats("p99_nats", found.p99_nats, 1)
}

/// Refuses (input) a measurement with an impossible number.
pub(super) fn check_measurement(measurement: &Measurement) -> Result<()> {
    match measurement {
        Measurement::Subject(subject) => {
            count("size_bytes", subject.size_bytes, MOST)?;
            let read = subject.weight_bytes_per_token;
            number("weight_bytes_per_token", read, 0.0, MOST as f64)
        }
        Measurement::Device(seen) => {
            let speed = seen.bandwidth_gb_per_s.unwrap_or(0.0);
            number("bandwidth_gb_per_s", speed, 0.0, MOST_GB_PER_S)?;
            check_figures(&seen.description.figures)
        }
        Measurement::Sent(sent) => {
            count("sent_bytes", sent.sent_bytes, MOST)?;
            count("held_bytes", sent.held_bytes, MOST)?;
            millis("elapsed_ms", sent.elapsed_ms)
        }
        Measurement::Load(load) => load.loaded.iter().try_for_each(check_loaded),
        Measurement::Repetition(one) => {
            millis("sustained_at_ms", one.sustained_at_ms.unwrap_or(0.0))?;
            one.generated.iter().try_for_each(check_generated)
        }
        Measurement::CorrectnessCheck(check) => {
            let CorrectnessCheck { tokens, kl_nats, worst_kl_nats, top1_agree, .. } = check;
            distance(*tokens, *kl_nats, *worst_kl_nats, *top1_agree)
        }
        Measurement::Plan(plan) => {
            let shares = [plan.neural_engine, plan.gpu, plan.cpu];
            // Costs are added up in some order, so that shares may exceed 1 by rounding.
            shares.into_iter().flatten().try_for_each(|share| number("a share", share, 0.0, 1.001))
        }
        Measurement::DecodeAlone(alone) => {
            check_loaded(&alone.loaded).and(check_generated(&alone.generated))
        }
        Measurement::Method(_) | Measurement::FailedStep(_) => Ok(()),
    }
}

fn check_loaded(loaded: &Loaded) -> Result<()> {
    millis("load_ms", loaded.load_ms)?;
    millis("compile_ms", loaded.compile_ms.unwrap_or(0.0))?;
    let all = loaded.samples.iter().chain([&loaded.before, &loaded.after]);
    all.into_iter().try_for_each(check_figures)
}

fn check_generated(generated: &Generated) -> Result<()> {
    count("prompt_tokens", generated.prompt_tokens as u64, MOST_TOKENS)?;
    millis("ttft_ms", generated.ttft_ms)?;
    generated.token_ms.iter().try_for_each(|time| millis("a value of token_ms", *time))?;
    let all = generated.samples.iter().chain([&generated.before, &generated.after]);
    all.into_iter().try_for_each(check_figures)
}

fn check_figures(figures: &Figures) -> Result<()> {
    number("at_ms", figures.at_ms, -MOST_MS, MOST_MS)?;
    let bytes = [
        ("footprint_bytes", figures.footprint_bytes),
        ("footprint_peak_bytes", figures.footprint_peak_bytes),
        ("neural_bytes", figures.neural_bytes),
        ("neural_peak_bytes", figures.neural_peak_bytes),
    ];
    bytes.into_iter().try_for_each(|(name, bytes)| count(name, bytes.unwrap_or(0), MOST))
}

/// How far two sets of predictions are apart.
fn distance(tokens: usize, kl: Option<f64>, worst: Option<f64>, agree: usize) -> Result<()> {
    count("tokens", tokens as u64, MOST_TOKENS)?;
    count("top1_agree", agree as u64, tokens as u64)?;
    nats("kl_nats", kl.unwrap_or(0.0), tokens.max(1))?;
    nats("worst_kl_nats", worst.unwrap_or(0.0), 1)
}

/// Refuses (input) a time that no clock measures.
pub(super) fn millis(name: &str, value: f64) -> Result<()> {
    number(name, value, 0.0, MOST_MS)
}

fn nats(name: &str, value: f64, tokens: usize) -> Result<()> {
    let tokens = tokens as f64;
    number(name, value, -ROUNDING_NATS * tokens, MOST_NATS * tokens)
}

fn number(name: &str, value: f64, least: f64, most: f64) -> Result<()> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(impossible(format!("{name} is {value}, expected {least} to {most}")))
}

fn count(name: &str, value: u64, most: u64) -> Result<()> {
    if value <= most {
        return Ok(());
    }
    Err(impossible(format!("{name} is {value}, expected at most {most}")))
}

fn impossible(what: String) -> Error {
    Error::input(what).hint(
        "no measurement gives this number: the line is damaged or was edited; measure again in an \
         empty folder",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::head::to_line;
    use crate::results::measurement::{MEASUREMENTS, Measurements};
    use crate::results::{RECORDS, RunFolder};

    const WINDOW: &str = r#"{"schema":2,"kind":"window","cell_id":"c","window":1,"scored_tokens":2,"scored_bytes":9,"nll_nats":4.25,"kl_nats":0.5,"top1_agree":1,"kl_tokens":[0.125,0.375]}"#;

    #[test]
    fn a_window_with_an_impossible_number_is_refused_by_file_and_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(RECORDS);
        let read = |line: &str| {
            let first = WINDOW.replace("\"window\":1", "\"window\":0");
            std::fs::write(
                &path,
                format!(
                    "{first}\n{line}\n{}\n",
                    r#"{"schema":2,"kind":"done","cell_id":"x","windows":0,"coded_hash":""}"#
                ),
            )
            .unwrap();
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

    #[test]
    fn a_measurement_with_an_impossible_number_is_neither_written_nor_read() {
        use crate::results::measurement::Repetition;
        let folder = tempfile::tempdir().unwrap();
        let repetition = |ttft_ms: f64, token_ms: Vec<f64>| {
            let generated = Some(Generated { ttft_ms, token_ms, ..Generated::default() });
            Measurement::Repetition(Repetition { generated, ..Repetition::default() })
        };
        let wrong = [
            repetition(-1.0, vec![]),
            repetition(1e200, vec![]),
            repetition(f64::NAN, vec![]),
            repetition(1.0, vec![1.0, -5.0]),
            Measurement::CorrectnessCheck(CorrectnessCheck { top1_agree: 1, ..Default::default() }),
        ];
        for one in wrong {
            let mut file = Measurements::open(folder.path()).unwrap();
            assert_eq!(file.append(one.clone()).unwrap_err().exit().code(), 2, "{one:?}");
            drop(file);
            let line = to_line(&one, "a measurement").unwrap();
            std::fs::write(folder.path().join(MEASUREMENTS), format!("{line}\n{line}\n")).unwrap();
            let error = RunFolder::read(folder.path()).unwrap_err().to_string();
            assert!(error.contains("measurements.jsonl: line 1: "), "{error}");
            std::fs::remove_file(folder.path().join(MEASUREMENTS)).unwrap();
        }
    }
}
