//! Split models against the same model in one file, and parts that do not belong together.

use std::path::{Path, PathBuf};

use crate::checkpoint::Checkpoint;
use crate::checkpoint::gguf::build::{GgufFile, Meta};
use crate::error::Exit;

fn u16s(value: u16) -> Meta {
    Meta::Raw(2, value.to_le_bytes().to_vec())
}

fn i32s(value: i32) -> Meta {
    Meta::Raw(5, value.to_le_bytes().to_vec())
}

/// `file` split as `llama-gguf-split` does it, with a part for each of these numbers of tensors and one
/// for the rest.
fn split(file: &GgufFile, sizes: &[usize]) -> Vec<GgufFile> {
    let mut tensors = file.tensors.iter();
    let count = sizes.len() + 1;
    let part = |index: usize| {
        let mut part = GgufFile { tensors: Vec::new(), ..file.clone() };
        if index > 0 {
            part.metadata.clear();
            part.alignment = 32;
        }
        part.set("split.no", u16s(index as u16));
        part.set("split.count", u16s(count as u16));
        part.set("split.tensors.count", i32s(file.tensors.len() as i32));
        let size = sizes.get(index).copied().unwrap_or(usize::MAX);
        part.tensors = tensors.by_ref().take(size).cloned().collect();
        part
    };
    (0..count).map(part).collect()
}

fn llama() -> GgufFile {
    let mut file = GgufFile::llama();
    file.set("general.alignment", Meta::U32(64));
    file.alignment = 64;
    file.float("rope_freqs.weight", &[2]);
    file.tensor("rope_freqs.weight").bytes = [1.0f32, 8.0].map(f32::to_le_bytes).concat();
    file
}

/// Writes parts under the names that they should have.
fn write(folder: &Path, parts: &[GgufFile]) -> Vec<PathBuf> {
    let count = parts.len();
    let write = |(number, part): (usize, &GgufFile)| {
        let path = folder.join(format!("m-{number:05}-of-{count:05}.gguf"));
        std::fs::write(&path, part.bytes()).unwrap();
        path
    };
    (1..).zip(parts).map(write).collect()
}

#[test]
fn a_split_model_is_the_model_in_one_file_whichever_part_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let merged = folder.path().join("m.gguf");
    std::fs::write(&merged, llama().bytes()).unwrap();
    let merged = Checkpoint::open(&merged).unwrap();
    // A first part without tensors is what --no-tensor-first-split makes.
    for sizes in [&[5, 3][..], &[0, 4], &[1; 11]] {
        let parts = write(folder.path(), &split(&llama(), sizes));
        for path in &parts {
            let whole = Checkpoint::open(path).unwrap();
            assert_eq!((&whole.name, &whole.config), (&merged.name, &merged.config));
            assert_eq!(whole.content_hash(), merged.content_hash());
            assert_eq!(whole.quantized_types(), merged.quantized_types());
            for (id, _) in merged.tensors() {
                assert_eq!(whole.read(id).unwrap(), merged.read(id).unwrap(), "{id:?}");
            }
            whole.check_unchanged().unwrap();
        }
        let whole = Checkpoint::open(&parts[0]).unwrap();
        let last = parts.last().unwrap();
        std::fs::OpenOptions::new().append(true).open(last).unwrap().set_len(64).unwrap();
        let error = whole.check_unchanged().unwrap_err().to_string();
        assert!(error.contains(&*last.to_string_lossy()), "{error}");
    }
}

/// Written by `tests/golden/make_gguf.py` with the gguf package of llama.cpp.
#[test]
fn parts_that_llama_cpps_own_package_writes_are_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let merged = Checkpoint::open(&folder.join("tiny-llama.gguf")).unwrap();
    for number in 1..=3 {
        let path = folder.join(format!("tiny-llama-0000{number}-of-00003.gguf"));
        let whole = Checkpoint::open(&path).unwrap();
        assert_eq!(whole.name, "tiny-llama");
        assert_eq!(whole.content_hash(), merged.content_hash());
    }
}

/// The message that refuses the parts after one change, whichever is given.
fn refusal(change: impl FnOnce(&mut Vec<GgufFile>)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut parts = split(&llama(), &[5, 3]);
    change(&mut parts);
    let paths = write(folder.path(), &parts);
    let errors = paths.iter().map(|path| {
        let error = Checkpoint::open(path).unwrap_err();
        assert_eq!(error.exit(), Exit::Input);
        error.to_string()
    });
    let errors: Vec<String> = errors.collect();
    errors[0].clone()
}

fn assert_refused(change: impl FnOnce(&mut Vec<GgufFile>), expected: &str) {
    let found = refusal(change);
    assert!(found.contains(expected), "expected {expected:?}, found {found:?}");
}

#[test]
fn a_missing_part_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let paths = write(folder.path(), &split(&llama(), &[5, 3]));
    std::fs::remove_file(&paths[1]).unwrap();
    for given in [0, 2] {
        let error = Checkpoint::open(&paths[given]).unwrap_err();
        assert_eq!(error.exit(), Exit::Input);
        let error = error.to_string();
        assert!(error.contains("m-00002-of-00003.gguf: part 2 of 3 is missing"), "{error}");
        assert!(error.contains("hint: put all parts"), "{error}");
    }
}

#[test]
fn a_part_under_another_name_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let paths = write(folder.path(), &split(&llama(), &[5, 3]));
    let renamed = folder.path().join("second.gguf");
    std::fs::rename(&paths[1], &renamed).unwrap();
    let error = Checkpoint::open(&renamed).unwrap_err().to_string();
    let expected =
        "second.gguf: this is part 2 of 3: expected a name that ends in -00002-of-00003.gguf";
    assert!(error.contains(expected), "{error}");
    std::fs::copy(&paths[2], &paths[1]).unwrap();
    let error = Checkpoint::open(&paths[0]).unwrap_err().to_string();
    let expected = "m-00002-of-00003.gguf: expected part 2 of 3 of 12 tensors, found part 3 of 3";
    assert!(error.contains(expected), "{error}");
}

#[test]
fn huge_numbers_of_parts_are_refused_before_a_file_is_sought() {
    let huge = |parts: &mut Vec<GgufFile>| {
        for part in parts {
            part.set("split.count", Meta::U32(1_000_000_000));
        }
    };
    assert_refused(huge, "key split.count: expected at most 1000 parts, found 1000000000");
    assert_refused(
        |parts| parts[0].set("split.no", i32s(-1)),
        "key split.no: expected a number below 3, found -1",
    );
    assert_refused(|parts| parts[0].set("split.no", u16s(3)), "expected a number below 3, found 3");
    assert_refused(|parts| parts[0].remove("split.no"), "the key split.no is missing");
    assert_refused(|parts| parts[0].set("split.count", Meta::text("3")), "expected an integer");
    assert_refused(
        |parts| parts[0].set("split.tensors.count", i32s(-5)),
        "key split.tensors.count: expected a number of tensors, found -5",
    );
}

#[test]
fn parts_of_other_models_are_refused() {
    assert_refused(
        |parts| parts[1].set("general.architecture", Meta::text("qwen2")),
        "m-00002-of-00003.gguf: key general.architecture: the value is not that of the first part",
    );
    assert_refused(
        |parts| parts[2].set("llama.logit_scale", Meta::F32(2.0)),
        "m-00003-of-00003.gguf: key llama.logit_scale: the value is not",
    );
    assert_refused(
        |parts| parts[1].metadata.clear(),
        "m-00002-of-00003.gguf: expected part 2 of 3 of 12 tensors, found a model in one file",
    );
    assert_refused(
        |parts| parts[1].set("split.tensors.count", i32s(13)),
        "found part 2 of 3 of 13 tensors",
    );
    let same = |parts: &mut Vec<GgufFile>| {
        parts[1].set("general.architecture", Meta::text("llama"));
        parts[2].set("split.count", u16s(4));
    };
    assert_refused(same, "m-00003-of-00003.gguf: expected part 3 of 3");
}

#[test]
fn tensors_in_two_parts_and_in_none_are_refused() {
    assert_refused(
        |parts| parts[2].float("output_norm.weight", &[8]),
        "m-00003-of-00003.gguf: tensor output_norm.weight: a part before this one has it",
    );
    assert_refused(
        |parts| drop(parts[1].tensors.pop()),
        "expected 12 tensors in all parts together, found 11",
    );
}

#[test]
fn a_truncated_part_is_refused_under_its_own_name() {
    let folder = tempfile::tempdir().unwrap();
    let paths = write(folder.path(), &split(&llama(), &[5, 3]));
    let bytes = std::fs::read(&paths[1]).unwrap();
    for len in (0..bytes.len()).step_by(7) {
        std::fs::write(&paths[1], &bytes[..len]).unwrap();
        let error = Checkpoint::open(&paths[0]).unwrap_err();
        assert_eq!(error.exit(), Exit::Input);
        assert!(error.to_string().contains("m-00002-of-00003.gguf: "), "{error}");
    }
}
