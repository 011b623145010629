//! Tests that a package with one error is refused with a message that names the place.

use std::fs;

use super::*;
use crate::package::fixture::*;
use crate::package::spec::*;

#[test]
fn a_valid_package_has_its_inputs_outputs_and_states() {
    let package = open(&model()).unwrap();
    let interface = &package.function("main").unwrap().interface;
    let names = |list: &[interface::Feature]| -> Vec<String> {
        list.iter().map(|f| format!("{} {}", f.name, f.kind)).collect()
    };
    assert_eq!(names(&interface.inputs), ["x Float16[3]"]);
    assert_eq!(names(&interface.outputs), ["y Float16[3]"]);
    assert_eq!(names(&interface.states), ["cache Float16[2, 3]"]);
    let error = package.function("decode").unwrap_err().to_string();
    assert_eq!(error, "x.mlpackage: the package has no function `decode`; it has main");
}

#[test]
fn a_model_with_one_error_is_refused_with_its_place() {
    type Change = fn(&mut Model);
    let cases: [(Change, &str); 18] = [
        (|m| m.program = None, "expected an ML Program, found another kind of model"),
        (|m| m.specification_version = 10, "the package is for iOS 26 (version 10, CoreML9)"),
        (|m| m.specification_version = 11, "the unknown version 11"),
        (|m| m.specification_version = 5, "version 5 cannot hold an ML Program"),
        (|m| m.specification_version = 8, "expected an operator set of at most CoreML7"),
        (|m| function(m).opset = "CoreML9".into(), "at most CoreML8, found \"CoreML9\""),
        (|m| function(m).opset = "CoreML7".into(), "the function has no body for its operator set"),
        (|m| m.program.as_mut().unwrap().version = 2, "program: expected version 1, found 2"),
        (|m| block(m).operations.swap(0, 1), "the value `w` is not defined before it is used"),
        (|m| block(m).operations[0].outputs[0].name = "x".into(), "value `x` is defined twice"),
        (|m| block(m).operations[0].outputs[0].name = "w.0".into(), "\"w.0\" is not a name"),
        (|m| block(m).outputs[0] = "z".into(), "output `z` is never defined"),
        (|m| block(m).outputs[0] = "x".into(), "output x has the name of an input"),
        (
            |m| description(m).states[0] = feature("cache", true, &[3, 2]),
            "state cache: the program has Float16[2, 3], but the description has Some(Float16) [3, 2]",
        ),
        (
            |m| function(m).inputs[1].kind = Some(tensor(DataType::Float16, &[2, 3])),
            "the inputs {\"x\"}, but the program has {\"cache\", \"x\"}",
        ),
        (|m| description(m).inputs.clear(), "the inputs {}, but the program has {\"x\"}"),
        (
            |m| {
                let kind = m.description.take();
                m.description = kind;
                let value = block(m).operations[0].attributes.get_mut("val").unwrap();
                value.kind = Some(tensor(DataType::Float16, &[4]));
            },
            "function main: w (const): Float16[4]: expected 4 elements, found 3",
        ),
        (
            |m| {
                let value = block(m).operations[0].attributes.get_mut("val").unwrap();
                let blob = BlobFileValue { file_name: "@model_path/w".into(), offset: 64 };
                value.content = Some(Content::Blob(blob));
            },
            "the package has no weight file `@model_path/w`",
        ),
    ];
    for (change, expected) in cases {
        let mut changed = model();
        change(&mut changed);
        let error = open(&changed).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}\nnot: {expected}");
        assert_eq!(error.exit().code(), 2);
    }
}

#[test]
fn a_state_of_another_type_is_refused() {
    let mut changed = model();
    let wrapped = Some(Box::new(tensor(DataType::Float32, &[2, 3])));
    let state = ValueType { of: Some(TypeOf::State(Box::new(StateType { wrapped }))) };
    function(&mut changed).inputs[1].kind = Some(state);
    let error = open(&changed).unwrap_err().to_string();
    let expected = "state cache: expected fp16 of fixed shape, found Float32[2, 3]";
    assert!(error.contains(expected), "{error}");
}

#[test]
fn a_deeply_nested_or_truncated_message_is_refused() {
    let mut nested = Block::default();
    for _ in 0..60 {
        let cond = Operation { kind: "cond".into(), blocks: vec![nested], ..Default::default() };
        nested = Block { operations: vec![cond], ..Default::default() };
    }
    let mut deep = model();
    block(&mut deep).operations.extend(nested.operations);
    assert!(open(&deep).unwrap_err().to_string().contains("not a Core ML model"));
    let bytes = model().encode_to_vec();
    for len in 0..bytes.len() {
        assert!(Package::from_parts(Path::new("x"), &bytes[..len], BTreeMap::new()).is_err());
    }
}

const MANIFEST: &str = r#"{"fileFormatVersion": "1.0.0", "rootModelIdentifier": "A",
    "itemInfoEntries": {"A": {"path": "com.apple.CoreML/model.mlmodel"},
                        "B": {"path": "com.apple.CoreML/weights"}}}"#;

/// A package on disk, changed by `change` before it is opened.
fn open_folder(manifest: &str, change: impl FnOnce(&Path)) -> Result<Package> {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("x.mlpackage");
    let data = root.join("Data/com.apple.CoreML");
    fs::create_dir_all(data.join("weights")).unwrap();
    fs::write(root.join("Manifest.json"), manifest).unwrap();
    fs::write(data.join("model.mlmodel"), model().encode_to_vec()).unwrap();
    fs::write(data.join("weights/weight.bin"), weights()).unwrap();
    change(&root);
    Package::open(&root)
}

#[test]
fn a_folder_must_have_exactly_the_files_in_its_manifest() {
    assert_eq!(open_folder(MANIFEST, |_| {}).unwrap().weights.len(), 1);
    let model = "Data/com.apple.CoreML/model.mlmodel";
    let refuse = |manifest: &str, change: &dyn Fn(&Path), expected: &str| {
        let error = open_folder(manifest, change).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}\nnot: {expected}");
        assert_eq!(error.exit().code(), 2);
    };
    let remove = |root: &Path| fs::remove_file(root.join(model)).unwrap();
    refuse(MANIFEST, &remove, "`Data/com.apple.CoreML/model.mlmodel`, which is missing");
    let remove = |root: &Path| fs::remove_file(root.join("Manifest.json")).unwrap();
    refuse(MANIFEST, &remove, "Manifest.json: the file is missing");
    let extra = |root: &Path| fs::write(root.join("Data/extra"), "").unwrap();
    refuse(MANIFEST, &extra, "`Data/extra` is not listed in the manifest");
    let unchanged = |_: &Path| {};
    for path in ["../x", "/etc/passwd", "a/../../x", "", "a//b", "./a", "a\\\\b"] {
        let manifest = MANIFEST.replace("com.apple.CoreML/weights", path);
        refuse(&manifest, &unchanged, "leads out of the package");
    }
    refuse(&MANIFEST.replace("1.0.0", "2.0.0"), &unchanged, "fileFormatVersion");
    refuse(&MANIFEST.replace("\"A\",", "\"C\","), &unchanged, "names no file");
    refuse("{", &unchanged, "this is not a valid manifest");
    refuse(&" ".repeat(2 << 20), &unchanged, "expected at most 1048576 bytes");
}

#[cfg(unix)]
#[test]
fn a_link_is_refused() {
    let link = |root: &Path| {
        let weights = root.join("Data/com.apple.CoreML/weights/weight.bin");
        fs::remove_file(&weights).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", weights).unwrap();
    };
    let error = open_folder(MANIFEST, link).unwrap_err().to_string();
    assert!(error.contains("weight.bin` is a link or a device"), "{error}");
}
