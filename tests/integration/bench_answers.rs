//! `evalkit bench` against a runner that answers numbers that nothing can measure: only its own step
//! fails, by name, and the other devices are measured.

use std::sync::Arc;

use crate::bench::{Lab, Listening, edit};
use crate::fixtures::proxy;
use evalkit::device::protocol::frame::Frame;
use evalkit::results::measurement::{FailedStep, Measurement};
use serde_json::json;

/// What failed on a device: the step's words.
fn failures(all: &[Measurement], device: &str) -> Vec<String> {
    let of = |one: &Measurement| {
        let attempt = match one {
            Measurement::FailedStep(FailedStep { device: own, step, reason, .. }) => {
                return (own == device).then(|| format!("{step}: {reason}"));
            }
            Measurement::Load(one) => &one.attempt,
            Measurement::Repetition(one) => &one.attempt,
            _ => return None,
        };
        let (_, why) = attempt.outcome.reason().filter(|_| attempt.device == device)?;
        Some(why.to_owned())
    };
    all.iter().filter_map(of).collect()
}

#[test]
fn an_impossible_number_fails_its_step_by_name_and_no_other_device() {
    let lab = Lab::new(&["palette4-g16-s"]);
    let phone = Listening::start(&lab.folder.path().join("store"));
    for (place, value, said) in [
        ("/result/load_ms", -5.0, "load_ms is -5, expected 0 to 1e12"),
        ("/result/load_ms", 1e308, "load_ms is 1e308, expected 0 to 1e12"),
        ("/result/token_ms/0", -1.0, "a value of token_ms is -1, expected 0 to 1e12"),
        ("/result/figures/at_ms", 1e300, "describe: failed: the runner answered a number"),
    ] {
        let change = move |frame: &mut Frame| {
            edit(frame, |answer| {
                if let Some(number) = answer.pointer_mut(place) {
                    *number = json!(value);
                }
            });
        };
        let device = format!("tcp:127.0.0.1:{}", proxy::start(phone.port, Arc::new(change)));
        let output = lab.bench(&format!("{device},host"), &["--repetitions", "1"], 3);
        let page = String::from_utf8(output.stdout).unwrap();
        assert!(page.contains(&device), "{page}");
        let told = failures(&lab.measurements(), &device);
        assert!(told.iter().any(|told| told.contains(said)), "{place}: {told:?}");
        assert_eq!((lab.kept(&device), lab.kept("host")), (0, 1), "{place}");
        assert!(lab.run_folder().join("report.html").exists());
    }
}

#[test]
fn even_a_quiet_command_says_what_failed_on_a_device() {
    let lab = Lab::new(&["palette4-g16-s"]);
    let phone = Listening::start(&lab.folder.path().join("store"));
    let refuse = |frame: &mut Frame| {
        edit(frame, |answer| {
            if answer.pointer("/result/nll_nats").is_some() {
                *answer = json!({"type": "failed", "id": answer["id"], "code": "failed",
                    "message": "no memory for logits"});
            }
        });
    };
    let device = format!("tcp:127.0.0.1:{}", proxy::start(phone.port, Arc::new(refuse)));
    let output = lab.bench(&device, &["--repetitions", "1"], 3);
    let talk = String::from_utf8(output.stderr).unwrap();
    let said = format!("error: {device} kept fewer repetitions than asked: score: failed: ");
    assert!(talk.starts_with(&said) && talk.contains("no memory for logits"), "{talk}");
}
