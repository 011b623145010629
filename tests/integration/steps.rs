//! Packages of every architecture and design, decoded step by step here and by another
//! interpreter of Core ML programs, on the same inputs.
//!
//! Needs that interpreter: `EVALKIT_INTERPRETER` is the command that runs it, called as
//! `… PACKAGE --function F --steps N --inputs IN.safetensors --out OUT.safetensors`, where inputs
//! and outputs have the steps as their first axis. Without it the test says that it was skipped.
//! With `EVALKIT_SHORT` one dense model and one mixture are compared, in two designs.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use evalkit::package::bundle::{Bundle, Manifest, PackageEntry, PackageRole};
use evalkit::package::execute::{Data, Executable, Precision, States, Tensor};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

const STEPS: usize = 32;
/// Largest difference of a number, against numbers of the order of 1 to 10.
const TOLERANCE: f32 = 1e-4;

/// Uniform numbers in -1 to 1 (xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// The input `name` of a function for one token at step `step`.
fn input(
    name: &str,
    shape: &[usize],
    step: usize,
    manifest: &Manifest,
    random: &mut Random,
) -> Data {
    let model = &manifest.model;
    let elements: usize = shape.iter().product();
    match name {
        "input_ids" => Data::Int(vec![(step * 37 % model.vocab_size) as i32]),
        "position_ids" | "write_position" => Data::Int(vec![step as i32]),
        "causal_mask" | "sliding_mask" => {
            let window = match (name, model.sliding_window_tokens) {
                ("sliding_mask", Some(window)) => window,
                _ => usize::MAX,
            };
            let visible = (step + 1).saturating_sub(window)..step + 1;
            let seen = |column| if visible.contains(&column) { 0.0 } else { -40_000.0 };
            Data::Float((0..elements).map(seen).collect())
        }
        _ => Data::Float((0..elements).map(|_| random.next()).collect()),
    }
}

/// Numbers of one name, step after step.
#[derive(Default)]
struct Series {
    shape: Vec<usize>,
    floats: Vec<f32>,
    ints: Vec<i32>,
}

impl Series {
    fn push(&mut self, tensor: &Tensor) {
        self.shape = [&[STEPS], tensor.shape()].concat();
        match tensor.data() {
            Data::Float(values) => self.floats.extend(values),
            Data::Int(values) => self.ints.extend(values),
            Data::Bool(_) => panic!("no package takes or gives bool"),
        }
    }

    fn bytes(&self) -> (Dtype, Vec<u8>) {
        match self.ints.is_empty() {
            true => (Dtype::F32, self.floats.iter().flat_map(|v| v.to_le_bytes()).collect()),
            false => (Dtype::I32, self.ints.iter().flat_map(|v| v.to_le_bytes()).collect()),
        }
    }
}

/// Runs `function` for all steps; what went in and what came out.
fn run_here(
    executable: &Executable,
    manifest: &Manifest,
) -> (BTreeMap<String, Series>, BTreeMap<String, Series>) {
    let (mut inputs, mut outputs) = (BTreeMap::new(), BTreeMap::new());
    let mut states = States::zeros(executable.interface());
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for step in 0..STEPS {
        let mut given = BTreeMap::new();
        for feature in &executable.interface().inputs {
            let shape = feature.kind.fixed_shape().unwrap();
            let data = input(&feature.name, &shape, step, manifest, &mut random);
            let tensor = Tensor::new(shape, data).unwrap();
            inputs.entry(feature.name.clone()).or_insert_with(Series::default).push(&tensor);
            given.insert(feature.name.clone(), tensor);
        }
        for (name, tensor) in executable.run(&mut states, &given).unwrap() {
            outputs.entry(name).or_insert_with(Series::default).push(&tensor);
        }
    }
    (inputs, outputs)
}

/// Runs the same in the other interpreter.
fn run_there(
    interpreter: &str,
    package: &Path,
    function: &str,
    inputs: &BTreeMap<String, Series>,
) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (into, out) = (folder.path().join("in.safetensors"), folder.path().join("out.safetensors"));
    let bytes: Vec<_> = inputs.iter().map(|(name, s)| (name, s.shape.clone(), s.bytes())).collect();
    let views = bytes.iter().map(|(name, shape, (dtype, bytes))| {
        ((*name).clone(), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize_to_file(views, None, &into).unwrap();
    let mut words = interpreter.split_whitespace();
    let output = Command::new(words.next().unwrap())
        .args(words)
        .arg(package)
        .args(["--function", function, "--steps", &STEPS.to_string(), "--inputs"])
        .arg(&into)
        .arg("--out")
        .arg(&out)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::read(out).unwrap()
}

/// The largest difference between what came out here and there.
fn difference(here: &BTreeMap<String, Series>, there: &[u8], place: &str) -> f32 {
    let there = SafeTensors::deserialize(there).unwrap();
    let mut largest = 0.0f32;
    for (name, series) in here {
        let view = there.tensor(name).unwrap();
        assert_eq!(view.shape(), series.shape, "{place}: {name}");
        let bytes = view.data();
        if view.dtype() == Dtype::I32 {
            let ints: Vec<i32> =
                bytes.as_chunks().0.iter().map(|b| i32::from_le_bytes(*b)).collect();
            assert_eq!(ints, series.ints, "{place}: {name}");
            continue;
        }
        assert_eq!(view.dtype(), Dtype::F32, "{place}: {name}");
        let floats = bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b));
        largest = floats.zip(&series.floats).map(|(a, b)| (a - b).abs()).fold(largest, f32::max);
    }
    largest
}

/// The functions of a package that are compared: one token at a time; of experts two.
fn functions(entry: &PackageEntry) -> Vec<&'static str> {
    match (entry.role, &entry.function) {
        (_, Some(only)) if only == "decode" => vec!["main"],
        (_, Some(_)) => vec![],
        (PackageRole::Experts, None) => vec!["expert_0_decode", "expert_3_decode"],
        (_, None) => vec!["decode"],
    }
}

/// Packages `model` and compares every package of it; the number of functions and the largest
/// difference.
fn compare(interpreter: &str, model: &Path, arguments: &str) -> (usize, f32) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let output = Command::new(env!("CARGO_BIN_EXE_evalkit"))
        .args(["package", "--max-sequence-length", "64", "--prefill-length", "8", "-m"])
        .arg(model)
        .arg("-o")
        .arg(&out)
        .args(arguments.split_whitespace())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let bundle = Bundle::open(&out).unwrap();
    let (mut count, mut largest) = (0, 0.0f32);
    for entry in &bundle.manifest.packages {
        for function in functions(entry) {
            let package = bundle.package(entry).unwrap();
            let executable = Executable::new(&package, function, Precision::Single).unwrap();
            let (inputs, here) = run_here(&executable, &bundle.manifest);
            let there = run_there(interpreter, &out.join(&entry.path), function, &inputs);
            let place = format!("{} {arguments} {} {function}", model.display(), entry.path);
            let found = difference(&here, &there, &place);
            assert!(found <= TOLERANCE, "{place}: {found:e}");
            (count, largest) = (count + 1, largest.max(found));
        }
    }
    (count, largest)
}

#[test]
fn another_interpreter_computes_the_same_for_32_steps() {
    let Ok(interpreter) = std::env::var("EVALKIT_INTERPRETER") else {
        eprintln!("skipped: EVALKIT_INTERPRETER names no interpreter of Core ML programs");
        return;
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mixtures = root.join("tests/golden/mixtures");
    let goldens = root.join("../shared/models/golden");
    let mut models: Vec<PathBuf> = vec!["demo".into()];
    models.extend(["gpt-oss-4", "qwen3-moe-norm-4"].map(|name| mixtures.join(name)));
    models.extend(["llama", "qwen2", "qwen3"].map(|name| goldens.join(name)));
    let mut designs: &[&str] = &[
        "--recipe palette4-g16-s",
        "--recipe palette2-g16-s --compute ane",
        "--recipe int4-b32 --compute gpu",
        "--recipe vector2-d4",
        "--recipe vector1-d4-g16 --compute ane",
        "--recipe palette4-g16-s --cache inputs",
        "--recipe int8 --compute ane --cache inputs",
        "--recipe palette4-s --target ios17",
        "--recipe int8 --target ios17",
    ];
    if std::env::var_os("EVALKIT_SHORT").is_some() {
        models.truncate(2);
        designs = &designs[..2];
    }
    for model in &models {
        if model.as_os_str() != "demo" && !model.exists() {
            eprintln!("skipped: there is no {}", model.display());
            continue;
        }
        for &design in designs {
            let is_mixture = model.starts_with(&mixtures);
            if is_mixture && design.ends_with("ios17") {
                continue;
            }
            let (functions, largest) = compare(&interpreter, model, design);
            eprintln!("{} {design}: {functions} functions, {largest:.1e}", model.display());
        }
    }
}
