//! One fixture with every outcome: kept, rejected, killed, wrong, simulated.

use super::super::{Format, render};
use super::*;
use crate::results::measurement::{
    Attempt, AttemptOutcome, CorrectnessCheck, DecodeAlone, Load, PlanShare, Repetition,
};
use crate::results::runner::{Description, Device, Figures, Generated, Loaded};

fn figures(peak: u64) -> Figures {
    Figures { footprint_peak_bytes: Some(peak), ..Figures::default() }
}

fn device(name: &str, simulated: bool) -> Measurement {
    let device = Device {
        model_identifier: if simulated { "x86_64" } else { "iPhone14,2" }.into(),
        os: "some system 1".into(),
        ..Device::default()
    };
    let runtime = if simulated { "no model" } else { "Core ML" }.into();
    let description = Description { simulated, device, runtime, ..Description::default() };
    Measurement::Device(SeenDevice {
        device: name.into(),
        description,
        marketing_name: (!simulated).then(|| "iPhone 13 Pro".into()),
        bandwidth_gb_per_s: (!simulated).then_some(34.1),
        bandwidth_confidence: Some("medium: LPDDR4X-4266 x 64 bit".into()),
        ..SeenDevice::default()
    })
}

fn attempt(device: &str, package: &str, visit: usize, outcome: AttemptOutcome) -> Attempt {
    Attempt {
        method_id: "m".into(),
        device: device.into(),
        package: package.into(),
        visit,
        attempts: 1,
        outcome,
        ..Attempt::default()
    }
}

fn visits(device: &str, package: &str, token_ms: f64) -> Vec<Measurement> {
    let mut all = Vec::new();
    for visit in 0..6 {
        let loaded = Loaded {
            load_ms: 100.0 + visit as f64,
            first: visit == 0,
            after: figures(70_000_000),
            ..Loaded::default()
        };
        let attempt = |outcome| attempt(device, package, visit, outcome);
        let load = Load {
            attempt: attempt(AttemptOutcome::Kept),
            fresh_process: true,
            loaded: Some(loaded),
        };
        all.push(Measurement::Load(load));
        for outcome in [AttemptOutcome::WarmUp, AttemptOutcome::Kept] {
            let slower =
                if outcome == AttemptOutcome::WarmUp { 9.0 } else { 1.0 + visit as f64 / 100.0 };
            let generated = Generated {
                prompt_tokens: 64,
                ids: vec![1; 11],
                ttft_ms: 80.0 * slower,
                token_ms: vec![token_ms * slower; 10],
                after: figures(80_000_000),
                ..Generated::default()
            };
            let attempt = attempt(outcome);
            let generated = Some(generated);
            all.push(Measurement::Repetition(Repetition {
                attempt,
                generated,
                sustained_at_ms: None,
            }));
        }
    }
    all
}

fn subject(package: &str, variant: &str) -> Measurement {
    Measurement::Subject(Subject {
        package: package.into(),
        variant: variant.into(),
        cell_id: Some(if package == "a" { "b0" } else { "c0" }.into()),
        model: "tiny".into(),
        size_bytes: 2_000_000,
        weight_bytes_per_token: 1_700_000.0,
        calls_per_token: 1,
        ..Subject::default()
    })
}

pub(in crate::report) fn all() -> Vec<Measurement> {
    let correctness = |device: &str, package: &str, holds: bool| {
        Measurement::CorrectnessCheck(CorrectnessCheck {
            device: device.into(),
            package: package.into(),
            holds,
            what: if holds { String::new() } else { "token 3: KL 2.10e0 nats".into() },
            tokens: 32,
            kl_nats: Some(if holds { 0.0032 } else { 64.0 }),
            top1_agree: if holds { 32 } else { 4 },
            max_logit_difference: Some(0.25),
            ..CorrectnessCheck::default()
        })
    };
    let method = Method {
        method_id: "m".into(),
        prompt_tokens: 64,
        tokens: 11,
        repetitions: 6,
        compute_units: "all".into(),
        ..Method::default()
    };
    let mut all = vec![Measurement::Method(method), subject("a", "fp16"), subject("b", "palette4")];
    all.extend([
        device("usb:phone", false),
        correctness("usb:phone", "a", true),
        correctness("usb:phone", "b", false),
    ]);
    all.extend(visits("usb:phone", "a", 20.0));
    all.extend(visits("usb:phone", "b", 10.0));
    let rejected =
        AttemptOutcome::Rejected { reason: "the thermal state rose from nominal to fair".into() };
    let killed =
        AttemptOutcome::Killed { reason: "the runner's process ended while it loaded".into() };
    all.push(Measurement::Repetition(Repetition {
        attempt: attempt("usb:phone", "a", 6, rejected),
        ..Repetition::default()
    }));
    all.push(Measurement::Load(Load {
        attempt: attempt("usb:phone", "b", 6, killed),
        ..Load::default()
    }));
    let plan = PlanShare {
        device: "usb:phone".into(),
        package: "a".into(),
        neural_engine: Some(0.9),
        gpu: Some(0.0),
        cpu: Some(0.1),
        operations: 10,
        unassigned: 3,
    };
    all.push(Measurement::Plan(plan));
    let trouble = |package: Option<&str>| FailedStep {
        device: "usb:other".into(),
        package: package.map(str::to_owned),
        step: "send".into(),
        reason: "gone: the phone was detached".into(),
    };
    all.extend([trouble(Some("a")), trouble(None)].map(Measurement::FailedStep));
    all.extend([device("tcp:127.0.0.1:1", true), correctness("tcp:127.0.0.1:1", "a", false)]);
    all.extend(visits("tcp:127.0.0.1:1", "a", 1.0));
    all
}

#[test]
fn devices_as_a_terminal_shows_them() {
    insta::assert_snapshot!(render(Format::Terminal, &document(&all()), 120).unwrap());
}

#[test]
fn speeds_of_a_wrong_package_are_struck_out_and_no_program_reads_them() {
    let document = document(&all());
    let markdown = render(Format::Markdown, &document, 0).unwrap();
    assert!(markdown.contains("~~98 [95, 100]~~"), "{markdown}");
    let html = render(Format::Html, &document, 0).unwrap();
    assert!(html.contains(r#"<td class="struck" title="wrong: token 3: KL 2.10e0 nats">"#));
    let json: serde_json::Value =
        serde_json::from_str(&render(Format::Json, &document, 0).unwrap()).unwrap();
    let rows = json["tables"][0]["rows"].as_array().unwrap();
    assert!(rows[0]["decode_tokens_per_s"]["point"].is_f64());
    assert!(rows[1]["decode_tokens_per_s"].is_null() && rows[1]["correctness"] == "WRONG");
}

#[test]
fn the_peak_with_decode_alone_is_told_if_its_process_was_fresh() {
    let alone = |package: &str, fresh_process, after| {
        Measurement::DecodeAlone(Box::new(DecodeAlone {
            method_id: "m".into(),
            device: "usb:phone".into(),
            package: package.into(),
            fresh_process,
            generated: Generated { after, ..Generated::default() },
            ..DecodeAlone::default()
        }))
    };
    let mut all = all();
    all.extend([alone("a", true, figures(45_000_000)), alone("b", false, figures(90_000_000))]);
    let notes = tables(&all)[0].notes.clone();
    let told: Vec<&String> = notes.iter().filter(|note| note.contains("decode alone")).collect();
    let expected =
        "fp16: peak memory with decode alone 45.0 MB, with decode and prefill 80.0 MB".to_owned();
    assert_eq!(told, [&expected]);
}

#[test]
fn the_neural_engines_own_peak_counts_and_the_samples_where_there_is_none() {
    let neural = |sampled: u64, peak: Option<u64>| {
        let mut all = all();
        let last = all.iter_mut().find_map(|one| match one {
            Measurement::Repetition(one) if one.attempt.outcome == AttemptOutcome::Kept => {
                one.generated.as_mut()
            }
            _ => None,
        });
        let samples = &mut last.unwrap().samples;
        let now = Figures { neural_bytes: Some(sampled), neural_peak_bytes: peak, ..figures(1) };
        *samples = vec![now];
        tables(&all)[0].rows[0][10].clone()
    };
    assert_eq!(neural(3_000_000, Some(5_000_000)), Value::from(5_000_000_u64));
    assert_eq!(neural(3_000_000, None), Value::from(3_000_000_u64));
}

#[test]
fn packages_of_one_variant_are_told_apart_and_data_names_device_and_design() {
    let mut all = all();
    for one in &mut all {
        if let Measurement::Subject(subject) = one {
            subject.variant = "palette4".into();
            subject.design =
                if subject.package == "a" { "ios18 gpu" } else { "ios18 neural-engine" }.into();
        }
    }
    let document = document(&all);
    let names: Vec<&Value> = document.tables[0].rows.iter().map(|row| &row[0]).collect();
    let expected = ["palette4 (ios18 gpu)", "palette4 (ios18 neural-engine)"].map(Value::from);
    assert_eq!(names, expected.iter().collect::<Vec<_>>());
    let json: serde_json::Value =
        serde_json::from_str(&render(Format::Json, &document, 0).unwrap()).unwrap();
    let row = &json["tables"][0]["rows"][1];
    assert_eq!(
        (&row["device"], &row["design"]),
        (&"usb:phone".into(), &"ios18 neural-engine".into())
    );
    let csv = render(Format::Csv, &document, 0).unwrap();
    let head = csv.lines().next().unwrap();
    assert!(head.contains(",correctness,device,design,failure,"), "{head}");
    let markdown = render(Format::Markdown, &document, 0).unwrap();
    assert!(!markdown.contains("| design |"), "people read it in the name: {markdown}");
    // Two packages of one design differ in their files.
    all.iter_mut().for_each(|one| {
        if let Measurement::Subject(subject) = one {
            subject.design = "ios18 gpu".into();
        }
    });
    let row = &tables(&all)[0].rows[1];
    assert_eq!(row[0], Value::from("palette4 (ios18 gpu, b)"));
}

#[test]
fn every_row_of_a_simulated_runner_says_so() {
    let tables = tables(&all());
    let simulated = tables.iter().find(|table| table.title.starts_with("SIMULATED")).unwrap();
    assert!(simulated.rows.iter().all(|row| row[1] == Value::from("SIMULATED")));
    let of_simulated = tables.iter().filter(|table| table.title.contains("127.0.0.1"));
    assert!(of_simulated.clone().count() == 2);
    assert!(of_simulated.clone().all(|table| table.title.starts_with("SIMULATED: ")));
}

#[test]
fn nothing_measured_is_no_table() {
    assert!(tables(&[]).is_empty() && notes(&[]).is_empty());
}
