//! `--ablate`: every step of calibrated coding by itself, in the records and on the pages, the same
//! for any number of threads and whatever happens on the way.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::path::PathBuf;
use std::process::Command;

use crate::fixtures::{self, Place, Tiny, run};
use serde_json::Value;

const WINDOWS: [&str; 4] = ["--limit", "2", "--calibration-windows", "4"];

fn sweep(place: &Place, reports: &str, args: &[&str]) -> Command {
    let mut command = place.evalkit(&["sweep", "-q", "--model", "demo", "--reports", reports]);
    command.args(WINDOWS).args(args);
    command
}

fn run_folder(place: &Place, reports: &str) -> PathBuf {
    std::fs::read_dir(place.path(reports)).unwrap().next().unwrap().unwrap().path()
}

fn lines(place: &Place, reports: &str, name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(run_folder(place, reports).join(name)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn an_ablation_has_a_row_per_step_and_its_times_are_not_records() {
    let place = Place::new(&Tiny::default(), 100);
    let args = ["--ablate", "int4-b32-cal", "--recipes", "int8", "--format", "json"];
    let output = run(&mut sweep(&place, "one", &args), 0);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let tables = document["tables"].as_array().unwrap();
    let table = tables.iter().find(|table| table["title"] == "Calibration").unwrap();
    let rows = table["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 8, "{rows:?}");
    assert_eq!(rows[0]["steps"], "data-free");
    assert_eq!(rows[1]["steps"], "cal");
    assert_eq!(rows[7]["steps"], "cal eq rep comp alt desc");
    assert!(rows[1..].iter().all(|row| row["coding_ms"].as_f64().unwrap() > 0.0), "{rows:?}");
    let error = |row: usize| rows[row]["relative_error"].as_f64().unwrap();
    assert!(error(7) < error(1), "{rows:?}");
    let notes = document["notes"].to_string();
    assert!(notes.contains("Codes were calibrated on 4 windows of generated stories"), "{notes}");
    assert!(!notes.contains("Ranges of int8"), "{notes}");

    let done = lines(&place, "one", "records.jsonl");
    let done: Vec<&Value> = done.iter().filter(|r| r["coding"].is_object()).collect();
    assert_eq!(done.len(), 7);
    assert_eq!(done[0]["coding"]["base"], "int4-b32");
    assert_eq!(done[0]["coding"]["nominal_bits"], 4);
    let layers = lines(&place, "one", "coding.jsonl");
    assert_eq!(layers.len() % 7, 0);
    let mut again = sweep(&place, "two", &args);
    run(again.args(["--threads", "1"]), 0);
    let [one, two] = ["one", "two"].map(|reports| lines(&place, reports, "records.jsonl"));
    assert!(one == two);
    // A plan has the variants, not the way in which they were asked for.
    let plan = std::fs::read_to_string(run_folder(&place, "one").join("plan.toml")).unwrap();
    assert!(plan.contains("int4-b32-cal-nocomp") && !plan.contains("ablate"), "{plan}");
}

#[test]
fn what_has_no_steps_is_refused() {
    let place = Place::new(&Tiny::default(), 100);
    for (recipe, why) in [("int4", "use `int4-cal`"), ("int4-noeq", "use `-cal-noeq`")] {
        let text = fixtures::told(&run(&mut sweep(&place, "r", &["--ablate", recipe]), 2));
        assert!(text.contains(why) && text.contains("--ablate"), "{text}");
    }
}
