//! The store of baselines and the folders of runs under kills, at once, and with other plans and lengths.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use super::night::Nights;
use crate::fixtures::told;

const ACCEPT: [&str; 5] = ["baseline", "accept", "good", "--store", "kept"];
const QUESTION: &str = "kept/demo-on-generated-stories-full-256";

/// The rows of the list of baselines.
fn listed(nights: &Nights) -> Vec<Value> {
    let args = ["baseline", "list", "--store", "kept", "--format", "json"];
    let json: Value = serde_json::from_slice(&nights.run(&args, 0).stdout).unwrap();
    json["tables"][0]["rows"].as_array().unwrap().clone()
}

/// The names in a folder that killed processes may leave.
fn leftovers(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap());
    names.filter(|name| name.starts_with('.')).collect()
}

#[test]
fn ten_commands_that_accept_at_once_leave_ten_entries() {
    let nights = Nights::new();
    nights.sweep("good", &[]);
    let children: Vec<_> =
        (0..10).map(|_| nights.evalkit(&ACCEPT).stderr(Stdio::null()).spawn().unwrap()).collect();
    for mut child in children {
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
    let log = std::fs::read_to_string(nights.path("kept/accepted.jsonl")).unwrap();
    assert_eq!(log.lines().count(), 10, "{log}");
    assert_eq!(listed(&nights).len(), 1);
}

#[test]
fn a_baseline_is_there_and_listed_as_it_is_whenever_its_replacement_is_killed() {
    let nights = Nights::new();
    nights.sweep("good", &[]);
    nights.run(&ACCEPT, 0);
    std::fs::write(nights.path("kept/.notes.part"), "mine").unwrap();
    for round in 0..24_u64 {
        let mut child = nights.evalkit(&ACCEPT).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(700 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        let kept = std::fs::read(nights.path(QUESTION).join("accepted.json")).unwrap();
        let kept: Value = serde_json::from_slice(&kept).unwrap();
        let rows = listed(&nights);
        assert_eq!(rows.len(), 1, "{rows:?}");
        assert_eq!(rows[0]["accepted"], kept["accepted"], "round {round}");
        assert!(nights.path(QUESTION).join("records.jsonl").exists(), "round {round}");
    }
    nights.run(&ACCEPT, 0);
    assert_eq!(leftovers(&nights.path("kept")), [".notes.part"]);
}

#[test]
fn runs_of_another_length_have_baselines_and_histories_of_their_own() {
    let nights = Nights::new();
    nights.sweep("good", &[]);
    let short = ["--limit", "3", "--recipes", "palette4-g16-s", "--reports", "short"];
    nights.run(&[&["sweep", "-q"], &short[..]].concat(), 0);
    nights.run(&ACCEPT, 0);
    nights.run(&["baseline", "accept", "short", "--store", "kept"], 0);
    let names: Vec<String> =
        listed(&nights).iter().map(|row| row["question"].as_str().unwrap().to_owned()).collect();
    let question = QUESTION.trim_start_matches("kept/");
    assert_eq!(names, [question.to_owned(), format!("{question}-3-windows")]);
    nights.run(&["check", "good", "--baseline", "kept"], 0);
    for name in ["good", "short"] {
        nights.edited(name, &format!("all/{name}"), |_| ());
    }
    let output = nights.run(&["check", "all/good", "--history", "--reports", "all"], 0);
    let said = told(&output);
    assert!(said.contains("1 run skipped: another model, text, length or protocol"), "{said}");
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("demo: 1 run\n"));
    let said = told(&nights.run(&["report", "all"], 2));
    assert!(
        said.contains("all: expected one run, found 2\nhint: name one of them: all/"),
        "{said}"
    );
}

#[test]
fn every_plan_of_a_run_is_kept() {
    let nights = Nights::new();
    nights.sweep("good", &[]);
    for recipe in ["palette2", "palette1"] {
        let other = ["sweep", "--limit", "16", "--recipes", recipe, "--reports", "good", "-q"];
        nights.run(&other, 0);
    }
    nights.sweep("good", &[]);
    let run = nights.only("good");
    let plan = |name: &str| std::fs::read_to_string(run.join(name)).unwrap();
    assert!(plan("plan.toml").contains("palette4-g16-s"));
    assert!(plan("plan-2.toml").contains("palette2"));
    assert!(plan("plan-3.toml").contains("palette1"));
    assert!(!run.join("plan-4.toml").exists());
}
