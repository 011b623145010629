//! Int8 activations (`-a8`) on the demo: ranges behave as their methods say, and a package computes
//! with the scales that were scored.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::path::Path;

use crate::fixtures::{self, Place, Tiny, run};
use evalkit::checkpoint::Checkpoint;
use evalkit::demo;
use evalkit::package::execute::{Executable, Precision, States, Tensor};
use evalkit::package::read::Package;
use evalkit::package::spec::{Bound, Operation};
use half::f16;
use serde_json::Value;

/// Bound on how far a window's nats, computed by the package in fp16 and f32, are from the record.
const NATS_RELATIVE: f64 = 0.003;

fn place() -> Place {
    Place::new(&Tiny::default(), 100)
}

/// The records of a sweep of two windows of the demo with these arguments.
fn sweep(place: &Place, reports: &str, more: &[&str]) -> Vec<Value> {
    let args = ["sweep", "-q", "--model", "demo", "--limit", "2", "--calibration-windows", "4"];
    run(place.evalkit(&args).args(["--reports", reports]).args(more), 0);
    let folder = std::fs::read_dir(place.path(reports)).unwrap().next().unwrap().unwrap().path();
    let text = std::fs::read_to_string(folder.join("records.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The records of one kind of one variant.
fn of<'a>(records: &'a [Value], variant: &str, kind: &str) -> Vec<&'a Value> {
    let is_cell = |r: &&Value| r["kind"] == "cell" && r["variant"] == variant;
    let id = &records.iter().find(is_cell).unwrap()["cell_id"];
    records.iter().filter(|r| r["kind"] == kind && r["cell_id"] == *id).collect()
}

/// The scales of a variant in the order of its record.
fn scales(records: &[Value], variant: &str) -> Vec<f16> {
    let done = of(records, variant, "done");
    let scales = done[0]["input_scales"].as_array().unwrap();
    scales.iter().map(|scale| f16::from_f64(scale["scale"].as_f64().unwrap())).collect()
}

fn nats(records: &[Value], variant: &str, of_what: &str) -> f64 {
    of(records, variant, "window").iter().map(|window| window[of_what].as_f64().unwrap()).sum()
}

#[test]
fn methods_clip_as_their_names_say_and_every_input_of_the_blocks_has_a_scale() {
    let place = place();
    let found = ["minmax", "percentile", "entropy"].map(|method| {
        let more = ["--recipes", "fp16,fp16-a8", "--activation-range", method];
        (method, sweep(&place, method, &more))
    });
    let first = found.each_ref().map(|(_, records)| scales(records, "fp16-a8")[0]);
    assert!(first[0] >= first[1] && first[0] >= first[2], "{first:?}");
    for (method, records) in &found {
        assert_eq!(scales(records, "fp16-a8").len(), 4 * 4, "{method}");
        let cell = of(records, "fp16-a8", "cell")[0];
        assert_eq!(cell["calibration"]["method"], *method);
        assert_eq!(cell["calibration"]["windows"], 4);
        // Int8 costs something, and not everything.
        let (without, with) =
            (nats(records, "fp16", "kl_nats"), nats(records, "fp16-a8", "kl_nats"));
        assert!(with > 10.0 * without, "{method}: {with}, {without}");
        assert!(with < 0.1 * nats(records, "fp16-a8", "nll_nats"), "{method}: {with}");
        // What is not int8 is what it was.
        assert_eq!(of(records, "fp16", "window"), of(&found[0].1, "fp16", "window"));
        let fp16 = of(records, "fp16", "done")[0];
        assert_eq!(fp16["coded_hash"], of(records, "fp16-a8", "done")[0]["coded_hash"]);
        assert!(fp16.get("input_scales").is_none());
    }
}

#[test]
fn scales_are_counted_in_the_size() {
    let records = sweep(&place(), "sizes", &["--recipes", "int8,int8-a8+head:fp16-a8"]);
    let sizes = |variant| -> BTreeMap<String, u64> {
        let cell = of(&records, variant, "cell")[0];
        let parts = cell["parts"].as_array().unwrap().iter();
        let size = |part: &Value| part["size_bytes"].as_u64().unwrap();
        parts.map(|part| (part["part"].as_str().unwrap().to_owned(), size(part))).collect()
    };
    let (plain, int8) = (sizes("int8"), sizes("int8-a8+head:fp16-a8"));
    let more = |part: &str| int8[part] - plain.get(part).unwrap_or(&0);
    // Two inputs in each of four layers, of two bytes; one of the head.
    assert_eq!((more("attention"), more("mlp"), more("head"), more("embedding")), (16, 16, 2, 0));
}

/// The scales of all `quantize` operators of a function, in order.
fn quantized(package: &Package, function: &str) -> Vec<f16> {
    let operations = &package.function(function).unwrap().block.operations;
    let is_made = |o: &&Operation, name: &str| o.outputs.iter().any(|made| made.name == name);
    let quantize = operations.iter().filter(|operation| operation.kind == "quantize");
    let scale = |operation: &Operation| {
        let Some(Bound::Name(name)) = &operation.inputs["scale"].bindings[0].bound else {
            panic!("a scale that is no constant");
        };
        let constant = operations.iter().find(|o| is_made(o, name)).unwrap();
        let bytes = package.literal(&constant.attributes["val"]).unwrap().bytes;
        f16::from_le_bytes([bytes[0], bytes[1]])
    };
    quantize.map(scale).collect()
}

/// The nats of the demo's first window of 256 tokens as a package computes them in one call.
fn packaged_nats(package: &Package) -> f64 {
    let tokenizer = Checkpoint::open_embedded(&demo::MODEL).unwrap().tokenizer().unwrap();
    let text = tokenizer.encode(demo::TEXT, false).unwrap().ids;
    let ids: Vec<u32> = tokenizer.bos.into_iter().chain(text).take(256).collect();
    let count = ids.len();
    let ints = |values: Vec<i32>, shape: &[usize]| Tensor::ints(shape.to_vec(), values).unwrap();
    let mask = (0..count * count).map(|i| if i % count > i / count { -1e4 } else { 0.0 });
    let inputs = BTreeMap::from([
        ("input_ids".to_owned(), ints(ids.iter().map(|id| *id as i32).collect(), &[1, count])),
        ("position_ids".to_owned(), ints((0..count as i32).collect(), &[count])),
        ("write_position".to_owned(), ints(vec![0], &[1])),
        ("causal_mask".to_owned(), Tensor::floats([1, 1, count, count], mask.collect()).unwrap()),
    ]);
    let executable = Executable::new(package, "prefill", Precision::Half).unwrap();
    let mut states = States::zeros(executable.interface());
    let outputs = executable.run(&mut states, &inputs).unwrap();
    let logits = outputs["logits"].as_floats().unwrap();
    let vocabulary = logits.len() / count;
    let nats = logits.chunks_exact(vocabulary).zip(&ids[1..]).map(|(row, id)| {
        let sum: f64 = row.iter().map(|logit| f64::from(*logit).exp()).sum();
        sum.ln() - f64::from(row[*id as usize])
    });
    nats.sum()
}

/// Ranges that clip, which costs more than f32 and fp16 differ by.
const ENTROPY: &[&str] = &["--activation-range", "entropy"];

fn package(place: &Place, recipe: &str, head: &str, range: &[&str]) -> Package {
    let args = ["package", "-q", "--model", "demo", "--recipe", recipe, "--head", head];
    let more = ["--calibration-windows", "4", "--prefill-length", "256", "--output"];
    run(place.evalkit(&args).args(range).args(more).arg(format!("{recipe}-{head}")), 0);
    Package::open(&place.path(&format!("{recipe}-{head}")).join("model.mlpackage")).unwrap()
}

#[test]
fn a_package_computes_with_the_scales_that_were_scored_and_loses_what_was_scored() {
    let place = place();
    let records = sweep(&place, "scored", &[&["--recipes", "fp16,fp16-a8"], ENTROPY].concat());
    let built = package(&place, "fp16-a8", "fp16", ENTROPY);
    for function in ["decode", "prefill"] {
        assert_eq!(quantized(&built, function), scales(&records, "fp16-a8"), "{function}");
    }
    let recorded = |variant| of(&records, variant, "window")[0]["nll_nats"].as_f64().unwrap();
    let (plain, int8) = (recorded("fp16"), recorded("fp16-a8"));
    assert!((int8 / plain - 1.0).abs() > 2.0 * NATS_RELATIVE, "{plain} {int8}");
    let found = packaged_nats(&built);
    assert!((found / int8 - 1.0).abs() < NATS_RELATIVE, "{found}, scored {int8}, fp16 {plain}");
}

#[test]
fn a_head_with_int8_inputs_has_a_scale_of_its_own_and_others_have_none() {
    let place = place();
    let built = package(&place, "int8", "fp16-a8", &[]);
    let mix = "int8+head:fp16-a8";
    let records = sweep(&place, "head", &["--recipes", mix]);
    assert_eq!(quantized(&built, "decode"), scales(&records, mix));
    assert_eq!(scales(&records, mix).len(), 1);
}

#[test]
fn calibration_that_cannot_be_meant_is_refused() {
    let place = place();
    std::fs::write(place.path("same.txt"), fixtures::text(100)).unwrap();
    let refuses = |more: &[&str], error: &str| place.refuses(place.sweep(more), 2, error);
    let int8 = ["--recipes", "int8-a8"];
    refuses(
        &int8,
        "int8-a8 needs a calibration text\n\
         hint: give one with --calibrate FILE, other than the text that is scored",
    );
    refuses(
        &[&int8[..], &["--calibrate", "same.txt"]].concat(),
        "--calibrate: same.txt: calibration window 0 is also window 0 of the text that is scored\n\
         hint: give other text with --calibrate FILE, or score fewer windows with --limit",
    );
    refuses(
        &[&int8[..], &["--calibrate", "same.txt", "--calibration-windows", "0"]].concat(),
        "--calibration-windows: expected 1 or more, found 0",
    );
    refuses(
        &[&int8[..], &["--calibrate", "same.txt", "--activation-range", "median"]].concat(),
        "--activation-range: expected minmax, percentile or entropy, found \"median\"",
    );
    let mixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/mixtures/gpt-oss-4");
    let mut command = place.evalkit(&["package", "--recipe", "int8-a8", "-o", "out", "--model"]);
    command.arg(mixture);
    let error = "recipe `int8-a8`: `-a8` is not available for experts\n\
                 hint: quantize the inputs of attention alone: int8+attention:int8-a8";
    place.refuses(command, 2, error);
}
