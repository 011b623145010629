//! Second moments that are saved once (`evalkit calibrate`) and code recipes of any width: what they
//! are, that nothing on the way changes them, and what is refused.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::fixtures::plain::{Plain, Rows, moments};
use crate::fixtures::{self, Place, Tiny, run, told};
use safetensors::SafeTensors;

const RECIPES: &str = "vector2-d4-cal-norep,palette1-g16-s-cal-norep-noeq";

fn calibrate(place: &Place, output: &str) -> Command {
    let mut command = place.evalkit(&["calibrate", "-q", "--model", "model"]);
    command.args(["--calibrate", "other.txt", "--context", "16", "--output", output]);
    command
}

fn sweep(place: &Place, reports: &str, recipes: &str, file: &str) -> Command {
    let mut command = place.sweep(&["-q", "--reports", reports, "--recipes", recipes]);
    command.args(["--calibration", file]);
    command
}

fn run_folder(place: &Place, reports: &str) -> PathBuf {
    std::fs::read_dir(place.path(reports)).unwrap().next().unwrap().unwrap().path()
}

fn coded(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder.join("coded")).unwrap().map(|e| e.unwrap().path());
    let named = |path: PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (name, std::fs::read(path).unwrap())
    };
    entries.map(named).collect()
}

#[test]
fn moments_are_those_of_a_plain_computation() {
    let place = Place::new(&Tiny::default(), 100);
    run(&mut calibrate(&place, "m.safetensors"), 0);
    let bytes = std::fs::read(place.path("m.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let plain = Plain::new(Tiny::default());
    let text = std::fs::read_to_string(place.path("other.txt")).unwrap();
    let id = |c: char| "abcdefghijklmnopqrstuvwxyz .,\n".find(c).unwrap() + 1;
    let ids: Vec<usize> = text.chars().map(id).collect();
    let embedding = &plain.weights["model.embed_tokens.weight"];
    let row = |id: usize| embedding[id * 64..(id + 1) * 64].to_vec();
    let windows = ids.chunks(15).map(|window| -> Rows {
        std::iter::once(0).chain(window.iter().copied()).map(row).collect()
    });
    let mut states: Vec<Rows> = windows.collect();
    assert_eq!(states.len(), 5);
    for layer in 0..2 {
        let found = states.iter().map(|x| plain.layer(layer, x));
        let (given, outputs): (Vec<[Rows; 4]>, Vec<Rows>) = found.unzip();
        for (at, input) in ["attention", "output", "mlp", "down"].into_iter().enumerate() {
            let given: Vec<Rows> = given.iter().map(|places| places[at].clone()).collect();
            let inputs = given[0][0].len();
            let expected = moments(&given, &outputs);
            let entry = file.tensor(&format!("layers.{layer}.{input}")).unwrap();
            assert_eq!(entry.shape(), [inputs * (inputs + 1) / 2]);
            let mut found =
                entry.data().chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
            for row in 0..inputs {
                for column in row..inputs {
                    let (found, wanted) =
                        (f64::from(found.next().unwrap()), expected[row * inputs + column]);
                    let square = |at: usize| expected[at * inputs + at];
                    let most = (square(row) * square(column)).sqrt();
                    assert!(
                        (found - wanted).abs() < 1e-4 * most,
                        "layer {layer}, {input} [{row}, {column}]: {found}, expected {wanted}"
                    );
                }
            }
        }
        states = outputs;
    }
}

#[test]
fn a_collection_that_was_killed_goes_on_and_ends_with_the_same_file() {
    let place = Place::new(&Tiny { layers: 6, ..Tiny::default() }, 100);
    run(calibrate(&place, "whole").args(["--threads", "1"]), 0);
    let parts = || {
        // Names that are hidden are of files that are being written: they are no progress.
        let names = place.listing().into_iter();
        names.filter(|path| path.to_string_lossy().contains("/cut.layer")).count()
    };
    let mut kills = 0;
    loop {
        let before = parts();
        let mut child = calibrate(&place, "cut").spawn().unwrap();
        let is_done = loop {
            if child.try_wait().unwrap().is_some() {
                break true;
            }
            if parts() > before {
                break false;
            }
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
    let [whole, cut] = ["whole", "cut"].map(|name| std::fs::read(place.path(name)).unwrap());
    assert!(whole == cut, "another file after {kills} kills");
    assert_eq!(parts(), 0);
    let output = run(&mut calibrate(&place, "cut"), 0);
    assert!(String::from_utf8(output.stdout).unwrap().contains("Content hash"));
}

#[test]
fn codes_by_a_file_are_the_same_for_any_threads_and_by_any_command() {
    let place = Place::new(&Tiny::default(), 100);
    run(&mut calibrate(&place, "m"), 0);
    for (reports, threads) in [("one", "1"), ("two", "2")] {
        run(sweep(&place, reports, RECIPES, "m").args(["--threads", threads]), 0);
    }
    let [one, two] = ["one", "two"].map(|reports| run_folder(&place, reports));
    let files = coded(&one);
    assert_eq!(files.len(), 2);
    assert!(files == coded(&two));
    let records = std::fs::read_to_string(one.join("records.jsonl")).unwrap();
    assert!(records == std::fs::read_to_string(two.join("records.jsonl")).unwrap());
    assert!(records.contains("\"moments_hash\":\"") && records.contains("other.txt"), "{records}");
    let page = std::fs::read_to_string(one.join("report.md")).unwrap();
    assert!(page.contains("from saved second moments (hash "), "{page}");

    let recipe = "vector2-d4-cal-norep";
    let mut quantize = place.evalkit(&["quantize", "-q", "--model", "model", "--recipe", recipe]);
    run(quantize.args(["--calibration", "m", "--output", "coded.safetensors"]), 0);
    let bytes = std::fs::read(place.path("coded.safetensors")).unwrap();
    let same = files.iter().find(|(name, _)| name.starts_with(recipe)).unwrap();
    assert!(*same.1 == bytes);
    // What a file is calibrated on is in the file.
    let given = ["--coded", "coded.safetensors", "--recipes", recipe, "--reports", "given"];
    run(&mut place.sweep(&given), 0);
    let own = |text: &str| -> Vec<String> {
        text.lines().filter(|l| l.contains("\"moments_hash\"")).map(str::to_owned).collect()
    };
    let given = std::fs::read_to_string(run_folder(&place, "given").join("records.jsonl")).unwrap();
    assert_eq!(own(&given).len(), 1);
    assert!(own(&records).contains(&own(&given)[0]));
}

#[test]
fn moments_calibrate_nearly_as_well_as_the_walk() {
    let place = Place::new(&Tiny::default(), 100);
    let few = ["--calibration-windows", "8"];
    run(place.evalkit(&["calibrate", "-q", "--output", "m"]).args(few), 0);
    let recipes = "vector2-d4,vector2-d4-cal-norep";
    let mut command = place.evalkit(&["sweep", "-q", "--limit", "4", "--calibration", "m"]);
    let output = run(command.args(["--recipes", recipes, "--format", "json"]), 0);
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = document["tables"][0]["rows"].as_array().unwrap();
    let kl = |row: usize| rows[row]["kl_mean_nats"]["point"].as_f64().unwrap();
    assert!(kl(2) < kl(1) / 1.5, "{rows:?}");
}

#[test]
fn what_moments_cannot_do_is_refused_with_the_recipe_that_can() {
    let place = Place::new(&Tiny::default(), 100);
    run(&mut calibrate(&place, "m"), 0);
    for recipe in ["int4-cal", "int4-ft", "int4-ft-norep"] {
        let text = told(&run(&mut sweep(&place, "r", recipe, "m"), 2));
        assert!(text.contains("use `int4-cal-norep`"), "{text}");
    }
    let text =
        told(&run(sweep(&place, "r", "int4-cal-norep", "m").args(["--calibrate", "other.txt"]), 2));
    assert!(text.contains("not both"), "{text}");
    // The text that is scored, under another name.
    std::fs::copy(place.path("other.txt"), place.path("text.txt")).unwrap();
    let text = told(&run(&mut sweep(&place, "r", "int4-cal-norep", "m"), 2));
    assert!(
        text.contains("calibration window 0 is also window 0 of the text that is scored"),
        "{text}"
    );
    assert!(!place.path("r").exists());
}

#[test]
fn files_that_are_not_this_models_moments_are_refused() {
    let place = Place::new(&Tiny::default(), 100);
    run(&mut calibrate(&place, "m"), 0);
    let whole = std::fs::read(place.path("m")).unwrap();
    let refused = |bytes: &[u8]| {
        std::fs::write(place.path("bad"), bytes).unwrap();
        let text = told(&run(&mut sweep(&place, "r", "int4-cal-norep", "bad"), 2));
        assert!(text.contains("--calibration") && text.contains("evalkit calibrate"), "{text}");
        text
    };
    for end in [0, 7, 100, whole.len() / 2, whole.len() - 1] {
        assert!(refused(&whole[..end]).contains("not a file of second moments"));
    }
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    assert!(refused(&flipped).contains("the file is damaged"));
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let edited = |from: &str, to: &str| {
        let text = std::str::from_utf8(&whole[..header]).unwrap();
        assert!(text.contains(from) && from.len() == to.len());
        [text.replacen(from, to, 1).as_bytes(), &whole[header..]].concat()
    };
    assert!(
        refused(&edited("layers.1.down", "layers.9.down")).contains("layers.1.down is missing")
    );
    assert!(refused(&edited("evalkit-moments", "evalkit-coffees")).contains("metadata `format`"));
    assert!(refused(&edited("other.txt", "ether.txt")).contains("the file is damaged"));
    let huge = edited("\"data_offsets\":[0,", "\"data_offsets\":[9,");
    assert!(refused(&huge).contains("not a file of second moments"));
    let other = Place::new(&Tiny { seed: 2, ..Tiny::default() }, 100);
    run(&mut calibrate(&other, "m"), 0);
    let text = refused(&std::fs::read(other.path("m")).unwrap());
    assert!(text.contains("but the checkpoint is"), "{text}");
}

#[test]
fn a_calibrated_recipe_is_packaged_from_its_file_alone() {
    let place = Place::new(&Tiny::default(), 100);
    std::fs::write(place.path("long.txt"), fixtures::text(1000)).unwrap();
    let package = ["package", "-q", "--model", "model", "--output", "p"];
    let recipe = ["--recipe", "vector2-d4-cal"];
    let text = told(&run(place.evalkit(&package).args(recipe), 2));
    assert!(
        text.contains("so the weights alone do not give its codes")
            && text.contains("--coded FILE"),
        "{text}"
    );
    let mut quantize = place.evalkit(&["quantize", "-q", "--model", "model", "--output", "c"]);
    let text = told(&run(
        place.evalkit(&["quantize", "-q", "--model", "model", "--output", "c"]).args(recipe),
        2,
    ));
    assert!(text.contains("--calibrate FILE"), "{text}");
    run(quantize.args(recipe).args(["--calibrate", "long.txt"]), 0);
    run(place.evalkit(&package).args(["--coded", "c"]), 0);
    let verify = ["verify", "p", "--model", "model", "--tokens", "16"];
    run(place.evalkit(&verify).args(["--coded", "c"]), 0);
    let text = told(&run(&mut place.evalkit(&verify), 2));
    assert!(text.contains("--coded FILE"), "{text}");
}

#[test]
fn a_dry_run_counts_what_calibration_holds() {
    let place = Place::new(&Tiny::default(), 100);
    let dry = |more: &[&str]| -> u64 {
        let args = ["--dry-run", "--format", "json", "--recipes", "int4-cal-norep"];
        let output = run(place.sweep(&args).args(more), 0);
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let table = &document["tables"][1];
        assert_eq!(table["title"], "Peak memory while calibrating, predicted");
        let rows = table["rows"].as_array().unwrap();
        let states = rows.iter().find(|row| row["purpose"] == "states of the calibration windows");
        states.map_or(0, |row| row["size_bytes"].as_u64().unwrap())
    };
    // Five windows of 16 tokens, 64 numbers each: five times in the reference, five in the variant.
    assert_eq!(dry(&["--calibrate", "other.txt"]), 5 * 16 * 64 * 4 * 10);
    run(&mut calibrate(&place, "m"), 0);
    assert_eq!(dry(&["--calibration", "m"]), 0);
}

#[test]
fn a_mixture_is_coded_expert_by_expert_by_its_file() {
    let Some(model) = fixtures::shared("models/moe-kjv-0.6m-mxfp4") else { return };
    let Some(text) = fixtures::shared("datasets/wiki.test.raw") else { return };
    let Some(other) = fixtures::shared("datasets/wiki.valid.raw") else { return };
    let place = Place::new(&Tiny::default(), 100);
    let mut command = place.evalkit(&["calibrate", "-q", "--context", "128", "--output", "m"]);
    run(command.arg("--model").arg(&model).arg("--calibrate").arg(other), 0);
    let recipes = "palette1-g16-s,palette1-g16-s-cal-norep";
    let mut command = place.evalkit(&["sweep", "-q", "--limit", "4", "--context", "128"]);
    command.args(["--calibration", "m", "--recipes", recipes, "--format", "json"]);
    let output = run(command.arg("--model").arg(model).arg("--text").arg(text), 0);
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = document["tables"][0]["rows"].as_array().unwrap();
    let kl = |row: usize| rows[row]["kl_mean_nats"]["point"].as_f64().unwrap();
    assert!(kl(2) < kl(1), "{rows:?}");
}
