//! Random mixtures of experts against what transformers computed with them in f32: the committed
//! ones, and those of another folder made by `tests/golden/make_mixtures.py`, where
//! `EVALKIT_MIXTURES` names it.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::path::{Path, PathBuf};

use crate::fixtures::forward;

/// Compares every model of a folder; returns how many there were.
fn compare(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut models: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    models.sort();
    for model in &models {
        let golden = model.join("golden.safetensors");
        forward::check(model, &golden, Some(&golden), forward::EXPERTS_MAX_ABS);
    }
    models.len()
}

#[test]
fn committed_mixtures_match_transformers_in_logits_and_in_every_choice_of_experts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/mixtures");
    assert_eq!(compare(&folder), 4, "one model per family");
}

#[test]
fn other_mixtures_match_transformers_too() {
    let Some(folder) = std::env::var_os("EVALKIT_MIXTURES") else {
        eprintln!("skipped: EVALKIT_MIXTURES names no folder made by make_mixtures.py");
        return;
    };
    let count = compare(Path::new(&folder));
    assert!(count > 0, "no models in {}", folder.display());
    eprintln!("{count} models compared");
}
