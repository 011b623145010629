//! Decisions on one pair of runs: a variant that failed, one that regressed, one that cannot be
//! decided, with a prediction of what would decide it, a size that grew, and a phone whose every
//! repetition was rejected because of heat. Renderers take their snapshots of the same check.

use super::*;
use crate::compare::fixture::{folder, records, with_lost_windows};
use crate::results::measurement::{
    Attempt, AttemptOutcome, Load, Measurement, Method, Repetition, SeenDevice, Subject,
};
use crate::results::runner::{Description, Device, Figures, Generated, Loaded};
use crate::results::{Done, Index, Record, Run};

const PHONE: &str = "usb:00008120";

/// The accepted run: every variant has a result.
fn accepted() -> Vec<Record> {
    let of_c = |record: &Record| match record {
        Record::Window(window) if window.cell_id == "c0" => {
            let mut window = window.clone();
            window.cell_id = "d0".into();
            Some(Record::Window(window))
        }
        _ => None,
    };
    let mut all = records();
    all.retain(|record| !matches!(record, Record::Failure(_)));
    let more: Vec<Record> = all.iter().filter_map(of_c).collect();
    all.extend(more);
    all.push(Record::Done(Done { cell_id: "d0".into(), windows: 12, ..Done::default() }));
    all
}

/// Tonight's run: `palette2-g16` worse by 2 %, `palette4` noisy and a byte larger, `palette1-c` failed.
fn tonight() -> Vec<Record> {
    let mut all = records();
    for record in &mut all {
        match record {
            Record::Environment(environment) => environment.binary_hash = "8a".repeat(32),
            Record::Cell(cell) if cell.cell_id == "b0" => cell.parts[0].size_bytes += 1,
            Record::Window(window) if window.cell_id == "c0" => window.nll_nats *= 1.02,
            Record::Window(window) if window.cell_id == "b0" => {
                window.nll_nats += ((window.window * 5) % 7) as f64 - 3.0;
            }
            _ => {}
        }
    }
    all
}

/// Six visits of a laptop and of a phone to the packages of `palette4`, two repetitions each.
pub(crate) fn measured(token_ms: f64, phone: &AttemptOutcome) -> Vec<Measurement> {
    let method = Method {
        method_id: "m0".into(),
        binary_hash: if *phone == AttemptOutcome::Kept { "9b" } else { "8a" }.repeat(32),
        tokens: 4,
        ..Method::default()
    };
    let subject = Subject {
        package: "p0".into(),
        variant: "palette4".into(),
        design: "ios18 gpu".into(),
        ..Subject::default()
    };
    let mut all = vec![Measurement::Method(method), Measurement::Subject(subject)];
    for (device, model_identifier) in [("host", "x86_64"), (PHONE, "iPhone16,1")] {
        let description = Description {
            device: Device { model_identifier: model_identifier.into(), ..Device::default() },
            ..Description::default()
        };
        let device = device.to_owned();
        all.push(Measurement::Device(SeenDevice { device, description, ..SeenDevice::default() }));
    }
    let outcomes = [("host", &AttemptOutcome::Kept), (PHONE, phone)];
    for visit in 0..6 {
        for (device, outcome) in outcomes {
            let attempt = Attempt {
                method_id: "m0".into(),
                device: device.into(),
                package: "p0".into(),
                visit,
                outcome: outcome.clone(),
                ..Attempt::default()
            };
            all.extend(visited(&attempt, visit, token_ms));
        }
    }
    all
}

fn visited(attempt: &Attempt, visit: usize, token_ms: f64) -> Vec<Measurement> {
    let drift = 1.0 + 0.002 * (visit % 3) as f64;
    let after = Figures { footprint_peak_bytes: Some(1_200_000_000), ..Figures::default() };
    let loaded = Loaded { load_ms: 900.0 * drift, after: after.clone(), ..Loaded::default() };
    let kept = Attempt { outcome: AttemptOutcome::Kept, ..attempt.clone() };
    let load = Load { attempt: kept, loaded: Some(loaded), ..Load::default() };
    let repetition = |at: usize| {
        let noise = drift + 0.001 * at as f64;
        let generated = Generated {
            ttft_ms: 250.0 * noise,
            token_ms: vec![token_ms * noise; 3],
            after: after.clone(),
            ..Generated::default()
        };
        let (attempt, generated) = (attempt.clone(), Some(generated));
        Measurement::Repetition(Repetition { attempt, generated, ..Repetition::default() })
    };
    vec![Measurement::Load(load), repetition(0), repetition(1)]
}

fn index(records: Vec<Record>) -> Index {
    let mut index = Index::default();
    for record in records {
        index.insert(record).unwrap();
    }
    index
}

fn judged(now: Vec<Record>, then: Vec<Record>) -> Checked {
    let heat = AttemptOutcome::Rejected { reason: "thermal state rose to serious".into() };
    let folder = |name: &str, hash: &str, records, measured| RunFolder {
        name: name.into(),
        hash: hash.repeat(32),
        index: index(records),
        measured,
        ..RunFolder::default()
    };
    let now = folder("tonight", "4d", now, measured(20.1, &heat));
    let then = folder("accepted", "5e", then, measured(20.0, &AttemptOutcome::Kept));
    check(&now, &then, &Tolerances::resolve([]).unwrap(), 7)
}

pub(crate) fn checked() -> Checked {
    judged(tonight(), accepted())
}

/// Sixteen nights: the fourth without devices, and from the ninth on worse.
pub(crate) fn nights() -> Vec<Night> {
    let night = |at: usize| {
        let index = index(if at < 8 { accepted() } else { tonight() });
        let measured = match at {
            3 => Vec::new(),
            at => measured(if at < 8 { 20.0 } else { 26.0 }, &AttemptOutcome::Kept),
        };
        let name = format!("2026-11-{:02}", at + 1);
        Night::of(&RunFolder { name, index, measured, ..RunFolder::default() }, 7)
    };
    (0..16).map(night).collect()
}

fn found(checked: &Checked, variant: &str, metric: Metric) -> Verdict {
    let is_it = |row: &&CheckRow| row.variant == variant && row.metric == metric;
    checked.rows.iter().find(is_it).map(|row| row.verdict.clone()).unwrap()
}

#[test]
fn the_fixture_holds_every_verdict_but_improved() {
    let checked = checked();
    assert_eq!(found(&checked, "palette1-c", Metric::Result), Verdict::Regressed);
    assert_eq!(found(&checked, "palette2-g16", Metric::Perplexity), Verdict::Regressed);
    assert_eq!(found(&checked, "palette4", Metric::Perplexity), Verdict::Inconclusive);
    assert_eq!(found(&checked, "palette4", Metric::Size), Verdict::Regressed);
    assert_eq!(found(&checked, "reference", Metric::Perplexity), Verdict::Unchanged);
    let hot = checked.rows.iter().find(|row| row.place == PHONE && row.metric == Metric::Decode);
    assert!(hot.is_some_and(|row| row.is_scarce), "{hot:?}");
    assert_eq!(checked.exit(), Exit::No);
    assert_eq!(judged(accepted(), tonight()).exit(), Exit::Inconclusive, "a byte less, and noise");
}

#[test]
fn windows_that_were_lost_are_invalid_on_either_side() {
    let lost = with_lost_windows("b0", accepted());
    let why = |checked: &Checked| {
        let is_it = |row: &&CheckRow| row.variant == "palette4" && row.metric == Metric::Result;
        let row = checked.rows.iter().find(is_it).unwrap();
        assert!(matches!(row.verdict, Verdict::Invalid(_)) && !row.is_scarce, "{row:?}");
        row.why.clone()
    };
    let said = "its records lost windows: 12 were scored, 3 are there; the first missing is 3";
    let now = judged(lost.clone(), accepted());
    assert_eq!((now.exit(), why(&now)), (Exit::No, said.to_owned()));
    let then = judged(accepted(), lost);
    assert_eq!((then.exit(), why(&then)), (Exit::No, format!("in the baseline, {said}")));
}

/// The check of two runs that measured nothing on a device: exit code, and what its invalid rows say.
fn of_records(now: &[Record], then: &[Record]) -> (Exit, Vec<String>) {
    let tolerances = Tolerances::resolve([]).unwrap();
    let checked = check(&folder("now", now), &folder("then", then), &tolerances, 7);
    let invalid = checked.rows.iter().filter(|row| matches!(row.verdict, Verdict::Invalid(_)));
    (checked.exit(), invalid.map(|row| format!("{}: {}", row.variant, row.why)).collect())
}

#[test]
fn a_variant_whose_own_record_was_lost_is_invalid_on_either_side() {
    let whole = accepted();
    assert_eq!(of_records(&whole, &whole), (Exit::Done, Vec::new()));
    let one = |record: &Record| matches!(record, Record::Cell(cell) if cell.cell_id == "b0");
    let all = |record: &Record| matches!(record, Record::Cell(_));
    let lost = [one, all].map(|is_lost: fn(&Record) -> bool| {
        whole.iter().filter(|record| !is_lost(record)).cloned().collect::<Vec<_>>()
    });
    for (lost, count) in lost.iter().zip([1, 4]) {
        let (exit, why) = of_records(&whole, lost);
        assert_eq!((exit, why.len()), (Exit::No, count), "{why:?}");
        let said = "in the baseline, its records lost the line \"cell\": ";
        assert!(why.iter().all(|why| why.contains(said)), "{why:?}");
        let (exit, why) = of_records(lost, &whole);
        assert_eq!((exit, why.len()), (Exit::No, 2 * count), "{why:?}");
        let error = folder("lost", lost).check_whole().unwrap_err();
        assert_eq!(error.exit(), Exit::No);
        assert!(count > 1 || error.to_string().contains("variant b0: its records lost"), "{error}");
    }
}

#[test]
fn a_run_that_lacks_a_variant_of_the_baseline_is_invalid_and_one_that_has_more_is_judged() {
    let whole = accepted();
    let mut fewer = whole.clone();
    fewer.retain(|record| record.cell_id() != Some("b0"));
    let (exit, why) = of_records(&fewer, &whole);
    assert_eq!((exit, &*why), (Exit::No, &["palette4: it is not in this run".to_owned()][..]));
    assert_eq!(of_records(&whole, &fewer), (Exit::Done, Vec::new()));
}

#[test]
fn windows_that_are_not_those_of_the_text_are_invalid_on_either_side() {
    let whole = accepted();
    for (bytes, said) in [
        (0, "its window 3 holds 100 scored tokens of 0 bytes, that of the reference 100 of 400"),
        (1 << 32, "its windows hold 4294971696 bytes of text, the run's text has 4800"),
        (u64::MAX, "its windows hold 18446744073709551615 bytes of text, the run's text has 4800"),
    ] {
        let mut edited = whole.clone();
        for record in &mut edited {
            match record {
                Record::Window(w) if (&*w.cell_id, w.window) == ("b0", 3) => w.scored_bytes = bytes,
                _ => {}
            }
        }
        let told = |place: &str| (Exit::No, vec![format!("palette4: {place}{said}")]);
        assert_eq!(of_records(&edited, &whole), told(""));
        assert_eq!(of_records(&whole, &edited), told("in the baseline, "));
    }
}

#[test]
fn a_run_against_itself_and_a_tolerance_that_nothing_exceeds_are_said() {
    let (run, other) = (folder("a", &accepted()), folder("b", &tonight()));
    let asides = |then: &RunFolder, set: [(&str, &str); 1]| {
        check(&run, then, &Tolerances::resolve(set).unwrap(), 7).asides
    };
    let same = asides(&run, [("kl", "2%")]);
    assert!(same[0].starts_with("a run compared with itself"), "{same:?}");
    let copy = RunFolder { name: "copy".into(), ..run.clone() };
    assert_eq!(asides(&copy, [("kl", "2%")])[0], same[0]);
    for set in [("perplexity", "1000%"), ("perplexity", "20"), ("top1", "1")] {
        let wide = asides(&other, [set]);
        assert!(wide[0].starts_with("the tolerance of "), "{set:?}: {wide:?}");
        assert!(wide[0].contains("hardly any change can exceed it"), "{wide:?}");
    }
    let usual = asides(&other, [("perplexity", "2%")]);
    assert!(usual.iter().all(|aside| !aside.contains("tolerance")), "{usual:?}");
}

#[test]
fn a_run_of_another_backend_is_judged_nowhere() {
    let mut other = accepted();
    other[0] = match &other[0] {
        Record::Run(run) => Record::Run(Run { backend: Some("metal".into()), ..run.clone() }),
        record => record.clone(),
    };
    let checked = judged(other, accepted());
    let mut of_variants = checked.rows.iter().filter(|row| row.metric == Metric::Result);
    assert!(of_variants.all(|row| row.why == "different backend"));
    let told = checked.differences.iter().find(|found| found.what == "backend").unwrap();
    let sides = [told.only_first.as_str(), told.only_second.as_str()];
    assert!(sides == ["cpu", "metal"] || sides == ["metal", "cpu"], "{sides:?}");
    assert_eq!(checked.exit(), Exit::No);
}

#[test]
fn a_run_of_another_model_is_invalid_in_one_row_per_variant() {
    let mut other = accepted();
    other[0] = match &other[0] {
        Record::Run(run) => Record::Run(Run { model_hash: "00".repeat(32), ..run.clone() }),
        record => record.clone(),
    };
    let checked = judged(other, accepted());
    let of_variants: Vec<&CheckRow> =
        checked.rows.iter().filter(|row| row.metric == Metric::Result).collect();
    assert_eq!(of_variants.len(), 4);
    assert!(of_variants.iter().all(|row| row.why == "different model"));
    assert!(checked.differences.iter().any(|what| what.what == "model"));
    assert!(!checked.rows.iter().any(|row| row.metric == Metric::Size));
    assert_eq!(checked.exit(), Exit::No);
}
