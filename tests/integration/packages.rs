//! Packages that others wrote, read and run here, against what others computed with them.
//!
//! A file of expectations holds tensors under `<step>/<function>/in/<name>` and
//! `<step>/<function>/out/<name>`, steps in their order with states carried on, and decoded weights
//! under `weight/<function>/<name>`. `tests/golden/make_packages.py` writes packages and
//! expectations with coremltools and numpy.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use evalkit::package::constexpr;
use evalkit::package::execute::{Data, Executable, Precision, States, Tensor};
use evalkit::package::read::Package;
use half::f16;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

fn folder(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn floats(view: &TensorView) -> Vec<f32> {
    let bytes = view.data();
    match view.dtype() {
        Dtype::F32 => bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        Dtype::F16 => bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
        other => panic!("{other:?} is not a float"),
    }
}

fn tensor(view: &TensorView) -> Tensor {
    let bytes = view.data();
    let data = match view.dtype() {
        Dtype::BOOL => Data::Bool(bytes.iter().map(|byte| *byte != 0).collect()),
        Dtype::I32 => {
            Data::Int(bytes.as_chunks().0.iter().map(|b| i32::from_le_bytes(*b)).collect())
        }
        _ => Data::Float(floats(view)),
    };
    Tensor::new(view.shape().to_vec(), data).unwrap()
}

/// The largest difference of floats; other values must be equal.
fn difference(name: &str, found: &Tensor, expected: &Tensor) -> f32 {
    assert_eq!(found.shape(), expected.shape(), "{name}");
    match (found.data(), expected.data()) {
        (Data::Float(found), Data::Float(expected)) => {
            let pairs = found.iter().zip(expected);
            pairs.filter(|(a, b)| a != b).fold(0.0, |max, (a, b)| {
                let difference = (a - b).abs();
                if difference > max || difference.is_nan() { difference } else { max }
            })
        }
        (found, expected) => {
            assert_eq!(found, expected, "{name}");
            0.0
        }
    }
}

/// Whether a tensor goes in, its name, and what it is.
type Given = (bool, String, Tensor);

/// Runs the steps of `expected`; the largest difference of all outputs.
fn replay(package: &Package, expected: &SafeTensors, precision: Precision) -> f32 {
    let mut steps: BTreeMap<(String, String), Vec<Given>> = BTreeMap::new();
    for (key, view) in expected.tensors() {
        if let [step, function, way, name] = key.split('/').collect::<Vec<_>>()[..] {
            let entry = steps.entry((step.to_owned(), function.to_owned())).or_default();
            entry.push((way == "in", name.to_owned(), tensor(&view)));
        }
    }
    let mut executables = BTreeMap::new();
    let mut states: Option<States> = None;
    let mut worst = 0.0f32;
    for ((step, function), tensors) in steps {
        let executable = executables.entry(function.clone()).or_insert_with(|| {
            Executable::new(package, &function, precision).unwrap_or_else(|e| panic!("{e}"))
        });
        let states = states.get_or_insert_with(|| States::zeros(executable.interface()));
        let inputs = tensors.iter().filter(|(is_input, ..)| *is_input);
        let inputs = inputs.map(|(_, name, tensor)| (name.clone(), tensor.clone())).collect();
        let outputs = executable.run(states, &inputs).unwrap_or_else(|e| panic!("{e}"));
        for (_, name, expected) in tensors.iter().filter(|(is_input, ..)| !is_input) {
            let found = difference(&format!("{step} {name}"), &outputs[name], expected);
            assert!(!found.is_nan(), "{step} {name}");
            worst = worst.max(found);
        }
    }
    worst
}

/// Compares decoded weights bit for bit; gives their number.
fn compare_weights(package: &Package, expected: &SafeTensors) -> usize {
    let mut count = 0;
    for (key, view) in expected.tensors() {
        if let ["weight", function, name] = key.split('/').collect::<Vec<_>>()[..] {
            let weights = constexpr::weights(package, function).unwrap();
            let weight = weights.get(name).unwrap_or_else(|| panic!("no weight {name}"));
            assert_eq!(weight.shape(), view.shape(), "{name}");
            let bits = |list: &[f32]| list.iter().map(|v| v.to_bits()).collect::<Vec<u32>>();
            assert_eq!(bits(&weight.decode()), bits(&floats(&view)), "{name}");
            count += 1;
        }
    }
    count
}

/// The packages in `folder` that have a file of expectations in `expectations`.
fn each(packages: &Path, expectations: &Path, mut check: impl FnMut(&str, &Package, &SafeTensors)) {
    let mut names: Vec<String> = std::fs::read_dir(expectations)
        .unwrap()
        .filter_map(|entry| {
            let name = entry.unwrap().file_name().to_string_lossy().into_owned();
            Some(name.strip_suffix(".safetensors")?.to_owned())
        })
        .collect();
    names.sort();
    assert!(!names.is_empty());
    for name in names {
        let path = packages.join(format!("{}.mlpackage", name.split('.').next().unwrap()));
        let package = Package::open(&path).unwrap_or_else(|e| panic!("{e}"));
        let bytes = std::fs::read(expectations.join(format!("{name}.safetensors"))).unwrap();
        check(&name, &package, &SafeTensors::deserialize(&bytes).unwrap());
    }
}

#[test]
fn packages_written_by_coremltools_give_what_it_computes() {
    let golden = folder("tests/golden/packages");
    let mut weights = 0;
    each(&golden, &golden, |name, package, expected| {
        weights += compare_weights(package, expected);
        let single = replay(package, expected, Precision::Single);
        eprintln!("{name}: outputs differ by {single:e}");
        assert!(single < 1e-5, "{name}: {single}");
    });
    assert!(weights > 30, "only {weights} weights");
}

#[test]
fn a_stateful_decoder_gives_the_logits_of_an_independent_interpreter() {
    let examples = folder("../shared/coreml/examples");
    if !examples.is_dir() {
        eprintln!("skipped: no example packages at {}", examples.display());
        return;
    }
    let expectations = std::env::var_os("PACKAGE_EXPECTATIONS");
    let expectations = expectations.map_or(folder("tests/golden/decoders"), PathBuf::from);
    each(&examples, &expectations, |name, package, expected| {
        let is_half = name.ends_with(".half");
        let precision = if is_half { Precision::Half } else { Precision::Single };
        let worst = replay(package, expected, precision);
        compare_weights(package, expected);
        eprintln!("{name}: logits differ by {worst:e}");
        assert!(worst < if is_half { 5e-2 } else { 1e-4 }, "{name}: {worst}");
    });
}
