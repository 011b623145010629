//! What packages of each design contain, and what is refused or warned of: against reports of what
//! Apple's engines compute wrongly.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use evalkit::package::bundle::Bundle;
use evalkit::package::execute::{Data, Executable, Precision, States, Tensor};
use evalkit::results::RunFolder;
use evalkit::results::measurement::Measurement;
use serde_json::Value;

use crate::fixtures::{Place, Tiny, run, told};

/// Writes packages of the demo and returns what the command printed.
fn package(place: &Place, out: &str, arguments: &str, code: i32) -> Output {
    let mut command = place.evalkit(&["package", "--output", out]);
    run(command.args(arguments.split_whitespace()), code)
}

fn manifest(place: &Place, out: &str) -> Value {
    let text = std::fs::read(place.path(out).join("model.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

fn tiny() -> Place {
    Place::new(&Tiny::default(), 100)
}

/// The inputs of `prefill` for its first tokens, with `masked` where a token does not see another.
fn inputs(executable: &Executable, masked: f32) -> BTreeMap<String, Tensor> {
    let mut inputs = BTreeMap::new();
    let interface = executable.interface();
    let is_input = interface.inputs.iter().any(|feature| feature.name == "key_cache");
    for feature in &interface.inputs {
        let shape = feature.kind.fixed_shape().unwrap();
        let elements: usize = shape.iter().product();
        let data = match feature.name.as_str() {
            "input_ids" => Data::Int((0..elements as i32).map(|i| i * 37 % 251).collect()),
            "position_ids" => Data::Int((0..elements as i32).collect()),
            "write_position" => Data::Int(vec![0]),
            "causal_mask" => {
                let [.., tokens, columns] = shape[..] else { panic!("{shape:?}") };
                let own = if is_input { columns - tokens } else { 0 };
                let seen = |at: usize| (own..=own + at / columns).contains(&(at % columns));
                let value = |at| if seen(at) { 0.0 } else { masked };
                Data::Float((0..elements).map(value).collect())
            }
            "key_cache" | "value_cache" => Data::Float(vec![0.0; elements]),
            other => panic!("{other}"),
        };
        inputs.insert(feature.name.clone(), Tensor::new(shape, data).unwrap());
    }
    inputs
}

/// A finite mask is what Apple's rules ask for; -inf is what attention is defined with.
#[test]
fn a_finite_mask_gives_the_bits_of_an_infinite_one() {
    let place = tiny();
    for (out, design) in [
        ("gpu", "--compute gpu"),
        ("ane", "--compute ane"),
        ("inputs", "--cache inputs"),
        ("old", "--target ios17"),
    ] {
        package(&place, out, &format!("--recipe palette4 {design} --max-sequence-length 96"), 0);
        let bundle = Bundle::open(&place.path(out)).unwrap();
        let entry = bundle.manifest.packages.last().unwrap();
        let function = if entry.function.is_some() { "main" } else { "prefill" };
        let package = bundle.package(entry).unwrap();
        for precision in [Precision::Single, Precision::Half] {
            let executable = Executable::new(&package, function, precision).unwrap();
            let bits = |masked: f32| -> Vec<u32> {
                let mut states = States::zeros(executable.interface());
                let outputs = executable.run(&mut states, &inputs(&executable, masked)).unwrap();
                let floats = outputs.values().flat_map(|tensor| tensor.as_floats().unwrap());
                floats.map(|value| value.to_bits()).collect()
            };
            let finite = bits(-40_000.0);
            assert!(finite == bits(f32::NEG_INFINITY), "{design}");
            assert!(finite != bits(0.0), "{design}: a mask must matter");
        }
    }
}

#[test]
fn caches_that_are_inputs_are_written_by_the_runner_and_predict_the_same() {
    let place = tiny();
    let mixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/mixtures/gpt-oss-4");
    let mixture = format!("--model {} --recipe palette4 --cache inputs", mixture.display());
    for (out, arguments) in [
        ("gpu", "--recipe palette4-g16-s --cache inputs"),
        ("ane", "--recipe palette4-g16-s --cache inputs --compute ane"),
        ("chain", "--recipe palette4-g16-s --cache inputs --chunk-size 100kB"),
        ("mixture", &mixture),
    ] {
        package(&place, out, &format!("{arguments} --max-sequence-length 96"), 0);
        assert_eq!(manifest(&place, out)["model"]["cache"], "inputs");
        let bundle = Bundle::open(&place.path(out)).unwrap();
        for entry in &bundle.manifest.packages {
            let package = bundle.package(entry).unwrap();
            assert!(entry.function.is_none() && package.functions().len() >= 2, "{}", entry.path);
            for (name, function) in package.functions() {
                let wrote = function.block.operations.iter().find(|operation| {
                    ["slice_update", "read_state", "write_state"].contains(&&*operation.kind)
                });
                assert!(wrote.is_none(), "{} {name}: {wrote:?}", entry.path);
                assert!(function.interface.states.is_empty());
                let prefill = bundle.manifest.model.prefill_tokens;
                let rows = if name.ends_with("decode") { 1 } else { prefill };
                let new =
                    function.interface.outputs.iter().find(|feature| feature.name == "new_keys");
                let shape = new.and_then(|feature| feature.kind.fixed_shape());
                assert!(shape.is_none_or(|shape| shape[2] == rows), "{name}");
            }
        }
        let model: Vec<&str> =
            arguments.split_whitespace().skip_while(|a| *a != "--model").take(2).collect();
        run(place.evalkit(&["verify", out]).args(model), 0);
    }
    let refused =
        told(&package(&place, "old", "--recipe palette4 --cache state --target ios17", 2));
    assert!(refused.contains("--cache: iOS 17 has no states"), "{refused}");
    package(&place, "old", "--recipe palette4 --cache inputs --target ios17", 0);
}

#[test]
fn integers_with_block_scales_are_refused_for_the_neural_engine() {
    let place = tiny();
    for (recipe, nearest) in [
        ("--recipe int4-b32", "palette4-g16-s"),
        ("--recipe int8-b32", "int8"),
        ("--recipe palette4 --embed int4-b16", "palette4-g16-s"),
    ] {
        let refused = told(&package(&place, "out", &format!("{recipe} --compute ane"), 2));
        assert!(refused.contains("the Neural Engine is reported"), "{recipe}: {refused}");
        assert!(refused.contains(&format!("can be packaged is {nearest}")), "{recipe}: {refused}");
        package(&place, "gpu", &format!("{recipe} --compute gpu --force"), 0);
    }
}

#[test]
fn a_large_vocabulary_is_chosen_from_outside_the_neural_engine() {
    let model = Tiny { vocab: 70_000, hidden: 32, inner: 64, layers: 1, ..Tiny::default() };
    let place = Place::new(&model, 100);
    let arguments = "--model model --recipe palette4 --max-sequence-length 64 --compute";
    package(&place, "ane", &format!("{arguments} ane"), 0);
    let packages = manifest(&place, "ane")["packages"].take();
    let of = |key: &str| -> Vec<Value> {
        packages.as_array().unwrap().iter().map(|entry| entry[key].clone()).collect()
    };
    assert_eq!(of("role"), ["embedding", "blocks", "head"]);
    assert_eq!(of("compute_units"), ["cpu_and_gpu".into(), Value::Null, Value::Null]);
    assert_eq!(manifest(&place, "ane")["model"]["compute_units"], "all");
    run(place.evalkit(&["verify", "ane", "--model"]).arg("model"), 0);
    // In the GPU's layout they stay together, and all of it runs elsewhere.
    package(&place, "gpu", &format!("{arguments} gpu"), 0);
    let gpu = manifest(&place, "gpu");
    assert_eq!(gpu["model"]["compute_units"], "cpu_and_gpu");
    assert_eq!(gpu["packages"].as_array().unwrap().len(), 1);
}

#[test]
fn the_neural_engine_gets_short_calls_and_warnings_with_a_remedy() {
    let place = tiny();
    let ane = told(&package(&place, "ane", "--recipe palette4 --compute ane", 0));
    assert_eq!(manifest(&place, "ane")["model"]["prefill_tokens"], 32);
    package(&place, "gpu", "--recipe palette4", 0);
    assert_eq!(manifest(&place, "gpu")["model"]["prefill_tokens"], 64);
    assert!(!ane.contains("warning"), "{ane}");
    let long =
        "--recipe palette4 --compute ane --prefill-length 64 --max-sequence-length 100 --force";
    let warned = told(&package(&place, "ane", long, 0));
    assert!(warned.contains("warning: the cache holds 100 tokens"), "{warned}");
    assert!(warned.contains("--max-sequence-length 96"), "{warned}");
    assert!(warned.contains("warning: prefill writes 64 rows"), "{warned}");
    let inputs = told(&package(&place, "ane", &format!("{long} --cache inputs"), 0));
    assert!(!inputs.contains("warning"), "{inputs}");
    // Heads of the tiny model are 16 wide.
    let narrow = "--model model --recipe int8 --compute ane --max-sequence-length 64";
    let warned = told(&package(&place, "narrow", narrow, 0));
    assert!(warned.contains("warning: the model's heads are 16 wide"), "{warned}");
    let int8 = "--recipe int8-a8 --compute ane --dry-run";
    let warned = told(&package(&place, "int8", int8, 0));
    assert!(warned.contains("warning: -a8 with --compute ane"), "{warned}");
    let int8 = told(&package(&place, "int8", "--recipe int8-a8 --dry-run", 0));
    assert!(!int8.contains("warning"), "{int8}");
}

/// Measures packages on this machine; the compute units that the method names.
fn bench(place: &Place, packages: &[&str], more: &[&str]) -> String {
    let reports = tempfile::tempdir().unwrap();
    let mut command: Command = place.evalkit(&["--quiet", "bench", "--repetitions", "1"]);
    command.args(["--prompt-tokens", "8", "--generate", "4", "--reports"]).arg(reports.path());
    command.env("XDG_CACHE_HOME", place.path("cache"));
    run(command.args(packages).args(more), 0);
    let folder = std::fs::read_dir(reports.path()).unwrap().next().unwrap().unwrap().path();
    let measured = RunFolder::read(&folder).unwrap().measured;
    let units = measured.iter().find_map(|one| match one {
        Measurement::Method(method) => Some(method.compute_units.clone()),
        _ => None,
    });
    units.unwrap()
}

#[test]
fn scales_on_top_of_a_table_are_not_measured_on_the_neural_engine_by_default() {
    let place = tiny();
    package(&place, "nested", "--recipe mxfp4 --max-sequence-length 64", 0);
    package(&place, "plain", "--recipe palette4-g16-s --max-sequence-length 64", 0);
    assert_eq!(manifest(&place, "nested")["model"]["compute_units"], "cpu_and_gpu");
    assert_eq!(manifest(&place, "plain")["model"]["compute_units"], "all");
    assert_eq!(bench(&place, &["plain"], &[]), "all");
    assert_eq!(bench(&place, &["plain", "nested"], &[]), "cpu-and-gpu");
    assert_eq!(bench(&place, &["nested"], &["--compute-units", "all"]), "all");
    // Files of earlier versions say nothing of compute units and caches.
    for name in ["nested", "plain"] {
        let mut old = manifest(&place, name);
        let model = old["model"].as_object_mut().unwrap();
        model.remove("compute_units").unwrap();
        model.remove("cache").unwrap();
        std::fs::write(place.path(name).join("model.json"), old.to_string()).unwrap();
        run(&mut place.evalkit(&["verify", name]), 0);
    }
    assert_eq!(bench(&place, &["nested"], &[]), "all");
}

#[test]
fn a_sweep_whose_packages_cannot_hold_a_variant_scores_nothing() {
    let place = tiny();
    for (recipes, design, nearest) in [
        ("palette4,palette4-g16-s", "--target ios17", "palette4-s"),
        ("palette4,int4-b16", "--compute ane", "palette4-g16-s"),
        ("palette4,mxfp4", "--compute ane", "palette4-g16"),
    ] {
        let arguments = format!("--recipes {recipes} --package {design}");
        let arguments: Vec<&str> = arguments.split_whitespace().collect();
        let refused = told(&run(&mut place.sweep(&arguments), 2));
        let second = recipes.split(',').next_back().unwrap();
        assert!(refused.contains(second), "{refused}");
        assert!(refused.contains(&format!("can be packaged is {nearest}")), "{refused}");
        assert!(!place.path("reports").exists(), "something was written");
    }
    let nothing = told(&run(&mut place.sweep(&["--recipes", "fp", "--package"]), 2));
    assert!(nothing.contains("there is nothing to package: fp keeps"), "{nothing}");
    assert!(!place.path("reports").exists(), "something was written");
    let state = ["--recipes", "palette4", "--package", "--target", "ios17", "--cache", "state"];
    run(&mut place.sweep(&state), 2);
    let fits = ["--recipes", "palette4-s", "--package", "--cache", "inputs"];
    run(place.sweep(&fits).args(["--max-sequence-length", "64"]), 0);
    assert!(place.records().contains("cache 64 as inputs, prefill 64"), "{}", place.records());
}

/// The only file with this name among the packages of the run.
fn packaged(place: &Place, name: &str) -> PathBuf {
    let packages = place.run_folder().join("packages");
    let all = place.listing().into_iter();
    let mut found = all.filter(|path| path.starts_with(&packages) && path.ends_with(name));
    let file = found.next().unwrap();
    assert!(found.next().is_none(), "more than one {name}");
    file
}

/// Inverts the last byte of a file.
fn damage(file: &Path) {
    let mut bytes = std::fs::read(file).unwrap();
    *bytes.last_mut().unwrap() ^= 0xff;
    std::fs::write(file, bytes).unwrap();
}

#[test]
fn a_sweep_writes_packages_again_that_are_of_another_design_or_damaged() {
    let place = tiny();
    let sweep = |compute: &str| {
        let arguments = ["--recipes", "palette4", "--package", "--max-sequence-length", "64"];
        told(&run(place.sweep(&arguments).args(["--compute", compute]), 0))
    };
    let holds = || -> Value {
        let text = std::fs::read(packaged(&place, "model.json")).unwrap();
        serde_json::from_slice::<Value>(&text).unwrap()["model"]["compute"].take()
    };
    let is_idle = |told: &str| told.contains("everything was already measured");
    for compute in ["ane", "gpu", "ane"] {
        let told = sweep(compute);
        assert!(!is_idle(&told), "{told}");
        assert_eq!(holds(), compute);
    }
    let told = sweep("gpu");
    assert!(told.contains("found ios18 ane, cache 64"), "{told}");
    let told = sweep("gpu");
    assert!(is_idle(&told), "{told}");
    let weights = packaged(&place, "weight.bin");
    let whole = std::fs::read(&weights).unwrap();
    damage(&weights);
    let told = sweep("gpu");
    assert!(told.contains("writing and verifying packages again: "), "{told}");
    assert!(told.contains("weight.bin: expected SHA-256 "), "{told}");
    assert!(std::fs::read(&weights).unwrap() == whole);
    let told = sweep("gpu");
    assert!(is_idle(&told), "{told}");
}

#[test]
fn verify_predicts_no_more_tokens_by_default_than_the_cache_holds() {
    let place = tiny();
    package(&place, "short", "--recipe palette4 --max-sequence-length 37", 0);
    run(&mut place.evalkit(&["verify", "short"]), 0);
    let refused = told(&run(&mut place.evalkit(&["verify", "short", "--tokens", "38"]), 2));
    assert!(refused.contains("expected 2 to 37 tokens"), "{refused}");
}
