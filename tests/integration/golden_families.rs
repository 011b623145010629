//! Random models of every family against what transformers computed with them in f32, in both spellings
//! of their configurations: the committed ones, made by `tests/golden/make_families.py`, and those of
//! `../shared/models/golden`.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::path::{Path, PathBuf};

use crate::fixtures::forward;
use evalkit::checkpoint::Checkpoint;

/// Bound on the largest difference of a logit, in f32.
const MAX_ABS: f32 = 2e-4;

fn folders(path: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

/// Opens a model by one of its configurations.
fn open(model: &Path, config: &str) -> Result<Checkpoint, evalkit::error::Error> {
    if config == "config.json" {
        return Checkpoint::open(model);
    }
    let folder = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(model).unwrap() {
        let path = file.unwrap().path();
        std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    std::fs::copy(model.join(config), folder.path().join("config.json")).unwrap();
    Checkpoint::open(folder.path())
}

/// What is wrong with a model; its largest difference if nothing is.
fn compare(model: &Path, config: &str, routes: Option<&Path>, max_abs: f32) -> Result<f32, String> {
    let checkpoint = open(model, config).map_err(|error| format!("{error}"))?;
    let golden = model.join("golden.safetensors");
    let check = || forward::check_opened(&checkpoint, &golden, routes, max_abs);
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(check)).map_err(|cause| {
        cause.downcast_ref::<String>().cloned().unwrap_or_else(|| "a panic".into())
    })
}

#[test]
fn every_committed_family_matches_transformers_in_both_spellings() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/families");
    let models = folders(&folder);
    assert!(models.len() >= 80, "{} models", models.len());
    let mut wrong = Vec::new();
    for model in &models {
        let name = model.file_name().unwrap().to_string_lossy().into_owned();
        for config in ["config.json", "config.v5.json"] {
            let routes = model.join("golden.safetensors");
            match compare(model, config, Some(&routes), MAX_ABS) {
                Ok(largest) => eprintln!("{name} {config}: {largest:.1e}"),
                Err(error) => wrong.push(format!("{name} {config}: {error}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn models_of_others_match_transformers_in_both_spellings() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/models/golden");
    if !folder.exists() {
        eprintln!("skipped: {} is not here", folder.display());
        return;
    }
    let mut wrong = Vec::new();
    for model in folders(&folder) {
        let name = model.file_name().unwrap().to_string_lossy().into_owned();
        for config in ["config.json", "config.v5.json"] {
            if !model.join(config).exists() {
                continue;
            }
            let found = compare(&model, config, None, forward::EXPERTS_MAX_ABS);
            match (found, name == "qwen3_5_text") {
                (Ok(_), false) => {}
                (Err(error), true) if error.contains("gated delta rule") => {}
                (found, _) => wrong.push(format!("{name} {config}: {found:?}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}
