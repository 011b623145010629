//! Codes that are chosen on a text (`-cal`, `-ft`): better than those of weights alone, the same
//! whatever happens on the way, and refused where they could not be trusted.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::path::{Path, PathBuf};

use crate::fixtures::{self, Place, Tiny, run, write_checkpoint};
use serde_json::Value;

fn demo(place: &Place, reports: &str, recipes: &str) -> std::process::Command {
    let args = ["sweep", "-q", "--model", "demo", "--limit", "4"];
    let mut command = place.evalkit(&args);
    command.args(["--recipes", recipes, "--reports", reports]);
    command
}

/// The same on few windows.
fn quick(place: &Place, reports: &str, recipes: &str) -> std::process::Command {
    let mut command = demo(place, reports, recipes);
    command.args(["--calibration-windows", "8"]);
    command
}

fn run_folder(place: &Place, reports: &str) -> PathBuf {
    std::fs::read_dir(place.path(reports)).unwrap().next().unwrap().unwrap().path()
}

fn records(folder: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join("records.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The mean KL divergence of a variant, in nats.
fn kl_nats(records: &[Value], variant: &str) -> f64 {
    let is_cell = |r: &&Value| r["kind"] == "cell" && r["variant"] == variant;
    let id = &records.iter().find(is_cell).unwrap()["cell_id"];
    let windows = records.iter().filter(|r| r["kind"] == "window" && r["cell_id"] == *id);
    let sums = windows.map(|w| [&w["kl_nats"], &w["scored_tokens"]].map(|v| v.as_f64().unwrap()));
    let [kl, tokens] = sums.fold([0.0; 2], |[a, b], [c, d]| [a + c, b + d]);
    kl / tokens
}

fn coded(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries =
        std::fs::read_dir(folder.join("coded")).unwrap().map(|entry| entry.unwrap().path());
    let read = |path: PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (name, std::fs::read(path).unwrap())
    };
    let mut files: Vec<_> = entries.map(read).collect();
    files.sort();
    files
}

#[test]
fn calibrated_codes_cost_a_fraction() {
    let place = Place::new(&Tiny::default(), 100);
    let free = "palette2-g16-s,vector2-d4";
    let fitted = "palette2-g16-s-cal,vector2-d4-cal,int4-b32,int4-b32-cal";
    run(&mut quick(&place, "r", &format!("{free},{fitted}")), 0);
    let records = records(&run_folder(&place, "r"));
    let kl = |variant| kl_nats(&records, variant);
    assert!(kl("palette2-g16-s-cal") < kl("palette2-g16-s") / 3.0, "{}", kl("palette2-g16-s-cal"));
    assert!(kl("vector2-d4-cal") < kl("vector2-d4") / 1.5, "{}", kl("vector2-d4-cal"));
    assert!(kl("int4-b32-cal") < kl("int4-b32"), "{}", kl("int4-b32-cal"));
    let cell = records.iter().find(|r| r["variant"] == "vector2-d4-cal").unwrap();
    assert_eq!(cell["calibration"]["method"], "second moments");
    assert_eq!(cell["calibration"]["windows"], 8);
}

#[test]
fn tuning_helps_and_says_how_much() {
    let place = Place::new(&Tiny::default(), 100);
    let mut command = demo(&place, "r", "vector2-d4-cal,vector2-d4-ft");
    run(command.args(["--calibration-windows", "16"]), 0);
    let records = records(&run_folder(&place, "r"));
    let kl = |variant| kl_nats(&records, variant);
    assert!(kl("vector2-d4-ft") < kl("vector2-d4-cal"), "{}", kl("vector2-d4-ft"));
    let coding = records.iter().filter_map(|r| r["coding"].as_object());
    let tuned = coding.filter_map(|coding| coding.get("tuned_whole")).next().unwrap();
    let [before, after] = ["before", "after"].map(|key| tuned[key].as_f64().unwrap());
    assert!(after < before, "{tuned}");
    assert!(coded(&run_folder(&place, "r")).len() == 2, "what led to the files is left");
}

/// Whether a file is not one that is still being written: those are hidden, and no progress.
fn is_finished(entry: &std::fs::DirEntry) -> bool {
    !entry.file_name().to_string_lossy().starts_with('.')
}

#[test]
fn a_walk_that_was_killed_goes_on_and_ends_with_the_same_codes() {
    let place = Place::new(&Tiny::default(), 100);
    let recipes = "vector2-d4-ft-blocks,palette2-g16-s-cal-noeq";
    run(&mut quick(&place, "whole", recipes), 0);
    let mut kills = 0;
    loop {
        let mut child = quick(&place, "cut", recipes).spawn().unwrap();
        // Every start gets further: until one more layer is kept, or the run is done.
        let parts = || match place.path("cut").is_dir() {
            true => std::fs::read_dir(run_folder(&place, "cut").join("coded"))
                .map_or(0, |entries| entries.flatten().filter(is_finished).count()),
            false => 0,
        };
        let before = parts();
        let is_done = loop {
            if child.try_wait().unwrap().is_some() {
                break true;
            }
            if parts() > before + 1 {
                break false;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        };
        if is_done {
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
        assert!(kills < 50);
    }
    assert!(kills > 0);
    let [whole, cut] = ["whole", "cut"].map(|reports| run_folder(&place, reports));
    assert_eq!(coded(&whole).len(), 2);
    assert!(coded(&whole) == coded(&cut), "other codes after {kills} kills");
    let [whole, cut] = [&whole, &cut].map(|f| std::fs::read(f.join("records.jsonl")).unwrap());
    assert!(whole == cut, "other records after {kills} kills");
}

#[test]
fn threads_change_no_code() {
    let place = Place::new(&Tiny::default(), 100);
    for (reports, threads) in [("one", "1"), ("two", "2")] {
        run(quick(&place, reports, "vector2-d4-ft-blocks").args(["--threads", threads]), 0);
    }
    let [one, two] = ["one", "two"].map(|reports| coded(&run_folder(&place, reports)));
    assert!(one == two);
}

#[test]
fn short_memory_takes_more_walks_and_changes_no_code() {
    let place = Place::new(&Tiny::default(), 100);
    let recipes = ["vector2-d4-cal", "int4-b32-cal"];
    let both = recipes.join(",");
    let predicted_bytes = |recipes: &str| {
        let mut command = quick(&place, "none", recipes);
        let output = run(command.args(["--dry-run", "--format", "json"]), 0);
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        let table = &document["tables"][1];
        assert_eq!(table["title"], "Peak memory while calibrating, predicted");
        table["rows"].as_array().unwrap().last().unwrap()["size_bytes"].as_u64().unwrap()
    };
    let [one, other] = recipes.map(predicted_bytes);
    let enough = (one.max(other) + predicted_bytes(&both)) / 2;
    run(&mut quick(&place, "much", &both), 0);
    run(quick(&place, "little", &both).args(["--memory", &format!("{enough}B")]), 0);
    let [much, little] = ["much", "little"].map(|reports| coded(&run_folder(&place, reports)));
    assert!(much.len() == 2 && much == little);
    let too_little = format!("{}B", one.min(other) / 2);
    let output = run(quick(&place, "none", &both).args(["--memory", &too_little]), 2);
    let text = fixtures::told(&output);
    assert!(text.contains("--memory"), "{text}");
}

#[test]
fn tuning_a_mixture_is_refused_with_advice_before_anything_is_coded() {
    let Some(model) = fixtures::shared("models/moe-kjv-0.6m-mxfp4") else { return };
    let place = Place::new(&Tiny::default(), 100);
    for recipe in ["int4-ft", "int4-cal-blocks", "int8+attention:palette4-ft"] {
        let mut command = place.evalkit(&["sweep", "-q", "--text", "text.txt", "--context", "16"]);
        command.arg("--model").arg(&model).args(["--calibrate", "other.txt"]);
        let text = fixtures::told(&run(command.args(["--recipes", recipe, "--reports", "r"]), 2));
        assert!(text.contains("not available for mixtures") && text.contains("`-cal`"), "{text}");
    }
    assert!(!place.path("r").exists());
}

#[test]
fn without_a_text_and_on_the_text_that_is_scored_nothing_is_calibrated() {
    let place = Place::new(&Tiny::default(), 100);
    let recipes = ["--recipes", "int4-cal"];
    let told = |command: &mut std::process::Command| fixtures::told(&run(command, 2));
    let text = told(place.sweep(&recipes).args(["--reports", "r"]));
    assert!(text.contains("int4-cal needs a calibration text"), "{text}");
    assert!(text.contains("--calibrate FILE"), "{text}");
    let own = ["--calibrate", "text.txt", "--reports", "r"];
    let text = told(place.sweep(&recipes).args(own));
    assert!(text.contains("is also window 0 of the text that is scored"), "{text}");
    assert!(!place.path("r").exists());
}

#[test]
fn a_mixture_is_calibrated_expert_by_expert() {
    let Some(model) = fixtures::shared("models/moe-kjv-0.6m-mxfp4") else { return };
    let Some(text) = fixtures::shared("datasets/wiki.test.raw") else { return };
    let Some(other) = fixtures::shared("datasets/wiki.valid.raw") else { return };
    let place = Place::new(&Tiny::default(), 100);
    let recipes = "palette2-g16-s,palette2-g16-s-cal,palette1-g16-s,palette1-g16-s-cal";
    let mut command = place.evalkit(&["sweep", "-q", "--limit", "4", "--context", "128"]);
    command.arg("--model").arg(model).arg("--text").arg(text).arg("--calibrate").arg(other);
    run(command.args(["--recipes", recipes, "--reports", "r"]), 0);
    let records = records(&run_folder(&place, "r"));
    for bits in ["palette2-g16-s", "palette1-g16-s"] {
        let [free, fitted] =
            [bits.to_owned(), format!("{bits}-cal")].map(|v| kl_nats(&records, &v));
        assert!(fitted < free, "{bits}: {fitted} calibrated, {free} not");
    }
}

#[test]
fn states_that_overflow_are_a_failure_with_its_place() {
    let place = Place::new(&Tiny::default(), 100);
    let mut tensors = Tiny::default().tensors();
    let name = "model.layers.0.mlp.down_proj.weight";
    let down = tensors.iter_mut().find(|tensor| tensor.name == name).unwrap();
    (0..6144).for_each(|at| down.poke(at, if at % 3 == 0 { 3e38 } else { -3e38 }));
    write_checkpoint(&place.model(), &Tiny::default().config(), &tensors);
    let args = ["--recipes", "int8-cal", "--calibrate", "other.txt", "--format", "json"];
    let output = run(&mut place.sweep(&args), 1);
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("layer 0") && table.contains("expected finite"), "{table}");
    assert!(!place.run_folder().join("coded").join("int8-cal").exists());
}
