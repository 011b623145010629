//! A variant's numbers do not depend on what else is in the run (I4), and the weights are read
//! once however many variants there are (I1).
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use crate::fixtures::silent_walk::SilentWalk;
use crate::fixtures::{Place, Tiny, run, write_checkpoint};
use candle_core::Device;
use evalkit::checkpoint::Checkpoint;
use evalkit::eval::{Variant, Walk, Window};
use serde_json::Value;

/// The window and end records of one variant, in order, as they are in the file.
fn records_of(place: &Place, reports: &str, variant: &str) -> Vec<String> {
    let folder = std::fs::read_dir(place.path(reports)).unwrap().next().unwrap().unwrap().path();
    let text = std::fs::read_to_string(folder.join("records.jsonl")).unwrap();
    let records: Vec<(Value, &str)> =
        text.lines().map(|line| (serde_json::from_str(line).unwrap(), line)).collect();
    let is_cell = |r: &&(Value, &str)| r.0["kind"] == "cell" && r.0["variant"] == variant;
    let id = records.iter().find(is_cell).unwrap().0["cell_id"].clone();
    let own = records
        .iter()
        .filter(|(r, _)| r["cell_id"] == id && (r["kind"] == "window" || r["kind"] == "done"));
    own.map(|(_, line)| (*line).to_owned()).collect()
}

const RECIPES: [&str; 6] =
    ["fp", "palette4", "palette2-g16", "palette1", "palette4-a8", "int8+head:fp16-a8"];

/// The text that ranges of int8 activations are chosen on.
const CALIBRATION: [&str; 4] = ["--calibrate", "other.txt", "--calibration-windows", "3"];

/// Larger than the tiny model's default: two slices of vocabulary, so that their bounds count.
fn place() -> Place {
    Place::new(&Tiny { vocab: 5000, ..Tiny::default() }, 16 * 24)
}

fn sweep(place: &Place, reports: &str, recipes: &str, more: &[&str]) {
    let args = ["-q", "--reports", reports, "--recipes", recipes];
    run(place.sweep(&args).args(CALIBRATION).args(more), 0);
}

#[test]
fn variants_together_give_the_records_of_single_runs() {
    let place = place();
    for recipe in RECIPES {
        sweep(&place, recipe, recipe, &["--threads", "1"]);
    }
    let recipes = RECIPES.join(",");
    let recipes_of = |threads| ["--recipes", &recipes, "--threads", threads];
    let budget = |threads| place.budget(5, &[&recipes_of(threads)[..], &CALIBRATION].concat());
    let (one, two) = (budget("1"), budget("2"));
    let runs: [(&str, &[&str]); 4] = [
        ("one", &["--threads", "1"]),
        ("two", &["--threads", "2"]),
        ("one-in-batches", &["--threads", "1", "--memory", &one]),
        ("two-in-batches", &["--threads", "2", "--memory", &two]),
    ];
    for (reports, more) in runs {
        sweep(&place, reports, &recipes, more);
        for recipe in RECIPES {
            let single = records_of(&place, recipe, recipe);
            assert_eq!(single.len(), 26, "{recipe}");
            assert_eq!(records_of(&place, reports, recipe), single, "{recipe} in {reports}");
        }
    }
}

#[test]
fn the_reference_does_not_depend_on_the_recipe_of_another_variants_head() {
    let place = place();
    sweep(&place, "alone", "fp", &[]);
    let reference = records_of(&place, "alone", "fp");
    for (reports, head) in [("grouped", "palette4-g24"), ("whole", "palette4"), ("c", "int8")] {
        sweep(&place, reports, "palette4", &["--head", head]);
        assert_eq!(records_of(&place, reports, "fp"), reference, "--head {head}");
    }
    // One folder holds them all: the reference's records are not contradicted.
    sweep(&place, "alone", "palette4", &["--embed", "palette8-g24", "--head", "palette4-g24"]);
}

#[test]
fn the_seed_changes_nothing_that_was_measured() {
    let place = place();
    let measured = |reports: &str, seed: &str| {
        sweep(&place, reports, "palette2-g16", &["--seed", seed]);
        let lines = records_of(&place, reports, "palette2-g16");
        lines
            .into_iter()
            .map(|line| {
                let mut record: Value = serde_json::from_str(&line).unwrap();
                record["cell_id"].take();
                record
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(measured("zero", "0"), measured("one", "1"));
}

#[test]
fn weights_are_read_once_however_many_variants_there_are() {
    for (tied, embedding, head) in
        [(true, "fp16", "fp16"), (false, "fp16", "fp16"), (false, "palette4", "palette4-g24")]
    {
        let model = Tiny { vocab: 5000, tied, ..Tiny::default() };
        let folder = tempfile::tempdir().unwrap();
        write_checkpoint(folder.path(), &model.config(), &model.tensors());
        let variants: Vec<Variant> = ["palette4", "palette2-g16", "palette1", "int4-b32"]
            .map(|blocks| Variant {
                attention: blocks.parse().unwrap(),
                mlp: blocks.parse().unwrap(),
                embedding: embedding.parse().unwrap(),
                head: head.parse().unwrap(),
                mixed: None,
            })
            .into();
        let windows = [Window { ids: (0..16).collect(), scored: 1..16, scored_bytes: 15 }];
        let reads = |variants: &[Variant]| {
            let checkpoint = Checkpoint::open(folder.path()).unwrap();
            let coded = vec![None; variants.len()];
            let walk = Walk {
                checkpoint: &checkpoint,
                variants,
                windows: &windows,
                coded: &coded,
                calibration: None,
                device: &Device::Cpu,
            };
            let walked = walk.run(None, &mut SilentWalk).unwrap();
            assert!(walked.outcomes.iter().all(|outcome| outcome.is_ok()));
            checkpoint.reads()
        };
        let one = reads(&variants[..1]);
        assert_eq!(reads(&variants), one, "embedding {embedding}, head {head}, tied {tied}");
        if embedding == "fp16" {
            // Embedding and head in two slices each, nine tensors in each of two blocks, a norm.
            assert_eq!(one, 2 + 2 * 9 + 1 + 2);
            assert_eq!(reads(&[]), one);
        }
    }
}
