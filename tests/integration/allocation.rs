//! Bits allocated by tensor: within the budget, better than one recipe for all, kept, edited and
//! replayed.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::fixtures::{self, Place, Tiny, run, told};
use serde_json::Value;

fn demo(place: &Place, more: &[&str]) -> Command {
    let mut command = place.evalkit(&["sweep", "--model", "demo", "--limit", "8"]);
    command.args(more);
    command
}

/// The allocations in the run's folder.
fn allocations(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let is_one = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.starts_with("allocation-") && name.ends_with(".toml")
    };
    let mut found: Vec<PathBuf> = entries.filter(is_one).collect();
    found.sort();
    found
}

/// A number among the keys of an allocation.
fn number(file: &Path, key: &str) -> f64 {
    let text = std::fs::read_to_string(file).unwrap();
    let prefix = format!("{key} = ");
    let line = text.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap().to_owned();
    line.parse().unwrap()
}

fn records(place: &Place) -> Vec<Value> {
    place.records().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn cell(records: &[Value], is_it: impl Fn(&str) -> bool) -> &Value {
    let mut cells = records.iter().filter(|record| record["kind"] == "cell");
    cells.find(|cell| is_it(cell["variant"].as_str().unwrap())).unwrap()
}

/// Stored bits per weight of the blocks' linear layers.
fn bits(cell: &Value) -> f64 {
    let parts = cell["parts"].as_array().unwrap().iter();
    let blocks = parts.filter(|p| ["attention", "mlp", "experts"].iter().any(|n| p["part"] == *n));
    let number = |value: &Value| value.as_f64().unwrap();
    let sums = blocks.map(|part| [number(&part["size_bytes"]), number(&part["weights"])]);
    let [bytes, weights] = sums.fold([0.0; 2], |[a, b], [c, d]| [a + c, b + d]);
    bytes * 8.0 / weights
}

/// Mean KL divergence in nats per token.
fn kl_nats(records: &[Value], cell: &Value) -> f64 {
    let is_own = |r: &&Value| r["kind"] == "window" && r["cell_id"] == cell["cell_id"];
    let windows = records.iter().filter(is_own);
    let sums = windows.map(|w| [&w["kl_nats"], &w["scored_tokens"]].map(|v| v.as_f64().unwrap()));
    let [kl, tokens] = sums.fold([0.0; 2], |[a, b], [c, d]| [a + c, b + d]);
    kl / tokens
}

#[test]
fn a_budget_is_kept_and_spent_better_than_by_one_recipe() {
    let place = Place::new(&Tiny::default(), 100);
    let asked = ["--recipes", "palette2-g16-s", "--target-bits", "2.5"];
    let first = told(&run(&mut demo(&place, &asked), 0));
    assert!(first.contains("measuring sensitivities on 2 windows"), "{first}");
    assert!(first.contains("Proven gap") && first.contains("query"), "{first}");
    let of_run = records(&place);
    let mixed = cell(&of_run, |name| name.starts_with("mixed_"));
    let uniform = cell(&of_run, |name| name == "palette2-g16-s");
    assert!(bits(mixed) <= 2.5 && bits(mixed) > 2.3, "{}", bits(mixed));
    let [mixed, uniform] = [mixed, uniform].map(|cell| kl_nats(&of_run, cell));
    eprintln!("measured KL: {mixed} mixed at 2.5 bits, {uniform} uniform at 2.1");
    assert!(mixed <= uniform, "{mixed} mixed, {uniform} uniform");

    // Typed again nothing is measured, and a larger budget costs less by the same sensitivities.
    let again = told(&run(&mut demo(&place, &asked), 0));
    assert!(!again.contains("measuring") && again.contains("already measured"), "{again}");
    let more = told(&run(&mut demo(&place, &["--target-bits", "3"]), 0));
    assert!(!more.contains("measuring sensitivities"), "{more}");
    let files = allocations(&place.run_folder());
    let [less, more] = &files[..] else { panic!("{files:?}") };
    for key in ["predicted_kl_nats", "size_bytes", "proven_gap"] {
        eprintln!("{key}: {} at 2.5, {} at 3 bits", number(less, key), number(more, key));
    }
    assert!(number(more, "predicted_kl_nats") < number(less, "predicted_kl_nats"));
    assert!(number(more, "proven_gap") < 0.01);
    let report = std::fs::read_to_string(place.run_folder().join("report.md")).unwrap();
    assert!(report.contains("| mixed-2.") && !report.contains("| mixed_"), "{report}");
}

/// The files in the folder of the only run under `reports` whose names begin so.
fn beginning(place: &Place, reports: &str, start: &str) -> Vec<PathBuf> {
    let Some(run) = std::fs::read_dir(place.path(reports)).ok().and_then(|mut runs| runs.next())
    else {
        return Vec::new();
    };
    let files = std::fs::read_dir(run.unwrap().path()).unwrap().map(|entry| entry.unwrap().path());
    let is_one = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(start);
    files.filter(is_one).collect()
}

#[test]
fn a_walk_for_sensitivities_that_was_killed_goes_on() {
    let place = Place::new(&Tiny::default(), 100);
    let asked = |reports: &str| {
        let mut command = demo(&place, &["-q", "--target-bits", "2.5"]);
        command.args(["--reports", reports]);
        command
    };
    let kept = |reports: &str| {
        let files = beginning(&place, reports, "sensitivities-");
        assert_eq!(files.len(), 1, "{files:?}");
        serde_json::from_slice::<Value>(&std::fs::read(&files[0]).unwrap()).unwrap()
    };
    run(&mut asked("whole"), 0);
    let mut child = asked("cut").spawn().unwrap();
    let is_begun = || !beginning(&place, "cut", "sensitivities-begun-").is_empty();
    while !is_begun() && child.try_wait().unwrap().is_none() {}
    child.kill().unwrap();
    child.wait().unwrap();
    let begun = beginning(&place, "cut", "sensitivities-begun-").pop();
    let layers = begun.as_ref().map(|file| std::fs::read(file).unwrap());
    run(&mut asked("cut"), 0);
    let [mut whole, cut] = ["whole", "cut"].map(kept);
    let Some((begun, layers)) = begun.zip(layers) else {
        eprintln!("the walk was over before it could be killed");
        return assert_eq!(whole, cut);
    };
    assert!(!begun.exists());
    assert_eq!(whole, cut);

    // What was kept is taken as it is.
    std::fs::remove_file(beginning(&place, "cut", "sensitivities-").pop().unwrap()).unwrap();
    let mut layers: Value = serde_json::from_slice(&layers).unwrap();
    layers["layers"][0][0][0][0] = Value::from(0.125);
    std::fs::write(&begun, layers.to_string()).unwrap();
    run(&mut asked("cut"), 0);
    whole["measured"]["parts"][0]["errors"][0][0] = Value::from(0.125);
    assert_eq!(whole, kept("cut"));
}

#[test]
fn a_file_that_was_edited_is_replayed_packaged_and_never_overwritten() {
    let place = Place::new(&Tiny::default(), 100);
    let asked = ["--target-bits", "2.2", "--limit", "1", "--candidates"];
    let candidates = "palette1-g16-s,palette2-g16-s,palette4-g16-s";
    let sweep = || {
        let mut command = place.evalkit(&["sweep", "--model", "demo"]);
        command.args(asked).arg(candidates);
        command
    };
    run(&mut sweep(), 0);
    let file = allocations(&place.run_folder()).pop().unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    let at = text.find("[layer.1]").unwrap();
    let (before, after) = text.split_at(at);
    let line = after.lines().find(|line| line.starts_with("down")).unwrap();
    let old = line.split('"').nth(1).unwrap();
    let edited = format!("{before}{}", after.replacen(line, &line.replacen(old, "int8", 1), 1));
    std::fs::write(&file, &edited).unwrap();
    let name = format!("@{}", file.display());
    let replay = ["--model", "demo", "--limit", "1", "--recipes", &name];
    run(place.evalkit(&["sweep"]).args(replay), 0);
    let of_run = records(&place);
    let replayed = cell(&of_run, |name| name.contains("_int8_"));
    let original = cell(&of_run, |name| name.starts_with("mixed_") && !name.contains("int8"));
    assert!(bits(replayed) > bits(original));

    let again = told(&run(&mut sweep(), 0));
    assert!(again.contains("was edited, so it is kept"), "{again}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), edited);

    run(&mut place.evalkit(&["quantize", "-q", "-o", "coded.safetensors", "--recipe", &name]), 0);
    let variant = replayed["variant"].as_str().unwrap();
    run(&mut place.evalkit(&["package", "-q", "-o", "package", "--recipe", variant]), 0);
    let coded = ["verify", "-q", "package", "--coded", "coded.safetensors"];
    let verified = run(&mut place.evalkit(&coded), 0);
    assert!(String::from_utf8_lossy(&verified.stdout).contains("the packages are this model"));
}

#[test]
fn what_cannot_be_allocated_is_refused_before_anything_is_measured() {
    let place = Place::new(&Tiny::default(), 100);
    let refused = |command: &mut Command| told(&run(command, 2));
    let text = refused(&mut demo(&place, &["--target-bits", "1"]));
    assert!(text.contains("--target-bits 1: ") && text.contains("take 110 kB (1.1"), "{text}");
    assert!(text.contains("hint: allow 1.1"), "{text}");
    let text = refused(&mut demo(&place, &["--target-bits", "NaN"]));
    assert!(text.contains("expected bits above 0"), "{text}");
    let text = refused(&mut demo(&place, &["--candidates", "int8"]));
    assert!(text.contains("--target-bits BITS or --fit DEVICE"), "{text}");
    let text = refused(&mut demo(&place, &["--fit", "iPhone 13 Por"]));
    assert!(text.contains("iPhone 13 Pro"), "{text}");
    let text = refused(&mut demo(&place, &["--target-bits", "2", "--attention", "int8"]));
    assert!(text.contains("leave one of them out"), "{text}");
    let differing = ["--target-bits", "3", "--candidates", "palette2,palette4-a8"];
    assert!(refused(&mut demo(&place, &differing)).contains("the same options"));
    // Every window of a text without --limit is scored.
    let text = refused(&mut place.sweep(&["--target-bits", "2"]));
    assert!(text.contains("none is left to measure sensitivities on"), "{text}");
    let own = ["--target-bits", "2", "--calibrate", "text.txt"];
    let text = refused(&mut place.sweep(&own));
    assert!(text.contains("is also window 0 of the text that is scored"), "{text}");
    assert!(!place.path("reports").exists());
    // An allocation is of a model with so many layers.
    let text = refused(&mut place.sweep(&["--recipes", "mixed_int8_int4_6a22b"]));
    assert!(text.contains("for 4 layers, but the model has 2"), "{text}");
}

#[test]
fn a_text_to_calibrate_on_decides_bits_and_codes() {
    let place = Place::new(&Tiny::default(), 100);
    let asked = ["--target-bits", "2.9", "--calibrate", "other.txt"];
    run(&mut place.sweep(&asked), 0);
    let of_run = records(&place);
    let mixed = cell(&of_run, |name| name.starts_with("mixed_"));
    assert!(mixed["variant"].as_str().unwrap().ends_with("-cal"), "{mixed}");
    assert!(bits(mixed) <= 2.9);
    let dry = told(&run(place.sweep(&asked).args(["--dry-run", "--threads", "1"]), 0));
    assert!(dry.contains("mixed-2."), "{dry}");
}

#[test]
fn what_fits_a_device_is_the_widest_where_there_is_room() {
    let place = Place::new(&Tiny::default(), 100);
    let fit = ["--fit", "iPhone 13 Pro", "--limit", "1", "--text", "text.txt"];
    let said =
        told(&run(place.evalkit(&["sweep", "--model", "model", "--context", "16"]).args(fit), 0));
    assert!(said.contains("the widest candidates take"), "{said}");
    let of_run = records(&place);
    cell(&of_run, |name| name == "palette6-g16-s");
}

#[test]
fn the_experts_of_a_layer_share_a_choice() {
    let Some(model) = fixtures::shared("models/moe-kjv-0.6m-mxfp4") else { return };
    let Some(text) = fixtures::shared("datasets/wiki.test.raw") else { return };
    let place = Place::new(&Tiny::default(), 100);
    let mut command = place.evalkit(&["sweep", "--limit", "2", "--context", "128"]);
    command.arg("--model").arg(model).arg("--text").arg(text);
    run(command.args(["--recipes", "palette2-g16-s", "--target-bits", "2.6"]), 0);
    let of_run = records(&place);
    let mixed = cell(&of_run, |name| name.starts_with("mixed_"));
    let uniform = cell(&of_run, |name| name == "palette2-g16-s");
    assert!(bits(mixed) <= 2.6, "{}", bits(mixed));
    let [mixed, uniform] = [mixed, uniform].map(|cell| kl_nats(&of_run, cell));
    eprintln!("measured KL: {mixed} mixed at 2.6 bits, {uniform} uniform");
    assert!(mixed <= uniform, "{mixed} mixed, {uniform} uniform");
}
