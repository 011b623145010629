//! Files of coded weights: a sweep that reads one finds what a sweep that codes finds.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::path::Path;
use std::process::{Command, Output};

fn evalkit(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_evalkit")).args(args).output().unwrap()
}

fn succeed(args: &[&str]) -> String {
    let output = evalkit(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Fails with exit code 2 and returns what was said.
fn refused(args: &[&str]) -> String {
    let output = evalkit(args);
    assert_eq!(output.status.code(), Some(2), "{args:?}");
    assert!(output.stdout.is_empty(), "{args:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn records(reports: &Path) -> Vec<u8> {
    let run = std::fs::read_dir(reports).unwrap().next().unwrap().unwrap().path();
    std::fs::read(run.join("records.jsonl")).unwrap()
}

const RECIPES: [[&str; 3]; 4] = [
    ["palette2-g16-s", "fp16", "fp16"],
    ["int4-b32-a", "int8", "palette4-g16"],
    ["palette1-c-t8", "palette8", "palette8"],
    ["palette3-g16-s-t8-p40", "palette4-t0.05", "palette2-g4-p25"],
];

#[test]
fn a_file_scores_as_its_recipes_do_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    for (index, [blocks, embed, head]) in RECIPES.into_iter().enumerate() {
        let path = |name: &str| folder.path().join(format!("{name}{index}")).display().to_string();
        let (file, coded, read) = (path("file"), path("coded"), path("read"));
        let parts = ["--embed", embed, "--head", head];
        succeed(&[&["quantize", "--recipe", blocks, "-o", &file][..], &parts].concat());
        let sweep = ["sweep", "--limit", "2", "--recipes", blocks, "--reports"];
        succeed(&[&sweep[..], &[&coded], &parts].concat());
        succeed(&[&sweep[..], &[&read, "--coded", &file], &parts].concat());
        assert!(records(Path::new(&coded)) == records(Path::new(&read)), "{blocks}");
        let again = path("again");
        succeed(&[&["quantize", "--recipe", blocks, "-o", &again][..], &parts].concat());
        assert!(std::fs::read(&file).unwrap() == std::fs::read(&again).unwrap(), "{blocks}");
    }
}

#[test]
fn the_file_is_as_large_as_its_parts_and_a_header() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("coded.safetensors");
    let path = file.display().to_string();
    let json = succeed(&["quantize", "--recipe", "palette2-g16", "-o", &path, "--format", "json"]);
    let document: serde_json::Value = serde_json::from_str(&json).unwrap();
    let parts = document["tables"][0]["rows"].as_array().unwrap();
    let size: u64 = parts.iter().map(|part| part["size_bytes"].as_u64().unwrap()).sum();
    let bytes = std::fs::read(&file).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    assert_eq!(bytes.len() as u64, 8 + header + size);
}

#[test]
fn a_damaged_file_or_one_of_another_model_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (file, reports) = (path("good"), path("reports"));
    succeed(&["quantize", "--recipe", "palette2-g16", "-o", &file]);
    let good = std::fs::read(&file).unwrap();
    let sweep = |bytes: &[u8]| {
        std::fs::write(path("bad"), bytes).unwrap();
        refused(&["sweep", "--limit", "1", "--reports", &reports, "--coded", &path("bad")])
    };
    assert!(sweep(&good[..good.len() - 1]).contains("not a file of coded weights"));
    assert!(sweep(b"").contains("not a file of coded weights"));
    let replaced = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        let at = good.windows(from.len()).position(|w| w == from.as_bytes()).unwrap();
        let mut bytes = good.clone();
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        bytes
    };
    let other = path("other");
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/mixtures/qwen3-moe-4");
    succeed(&["quantize", "-m", &model.display().to_string(), "--recipe", "int4", "-o", &other]);
    let other = sweep(&std::fs::read(other).unwrap());
    assert!(other.contains("coded from the model "), "{other}");
    let version = sweep(&replaced("\"version\":\"2\"", "\"version\":\"1\""));
    assert!(version.contains("hint: write it again with this version of evalkit quantize"));
    assert!(version.contains("metadata `version`: expected 2, found 1"), "{version}");
    let format = sweep(&replaced("evalkit-coded", "evalkit-other"));
    assert!(format.contains("metadata `format`"), "{format}");
    // Some bytes of the header are the text that names the fault; all others are named as damage.
    let header = u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
    let places = [8 + header / 2, 8 + header - 1, 8 + header, good.len() / 2, good.len() - 1];
    let hash = good.windows(16).position(|w| w == b"\"content_hash\":\"").unwrap() + 16;
    for at in places.into_iter().chain([hash]) {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        let said = sweep(&bytes);
        assert!(said.contains(&path("bad")), "{at}: {said}");
        let is_padding = at < 8 + header && at >= 8 + header / 2;
        assert!(is_padding || said.contains("the file is damaged: expected content "), "{said}");
    }
    assert!(!Path::new(&reports).exists(), "nothing was begun");
}

#[test]
fn quantize_leaves_no_file_behind_when_it_fails() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("coded.safetensors").display().to_string();
    let said = refused(&["quantize", "--recipe", "palette1-unique", "-o", &file]);
    assert!(said.contains("tensor model.layers.0"), "{said}");
    assert!(
        refused(&["quantize", "--recipe", "fp", "-o", &file]).contains("`fp` keeps the weights")
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
