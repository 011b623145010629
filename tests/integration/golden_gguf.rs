//! Models that llama.cpp's own converter wrote, made by `tests/golden/make_gguf_families.py`, against what
//! transformers computed with the models that they were made of.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use crate::fixtures::forward;
use evalkit::checkpoint::Checkpoint;

/// Bound on the largest difference of a logit, in f32.
const MAX_ABS: f32 = 2e-4;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn files() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(golden().join("gguf_families")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|end| end == "gguf")).collect();
    files.sort();
    files
}

/// What is wrong with a file; its largest difference if nothing is.
fn compare(file: &Path) -> Result<f32, String> {
    let checkpoint = Checkpoint::open(file).map_err(|error| error.to_string())?;
    let own = file.with_extension("safetensors");
    let of_family = golden().join("families").join(file.file_stem().unwrap());
    let golden = if own.exists() { own } else { of_family.join("golden.safetensors") };
    let check = || forward::check_opened(&checkpoint, &golden, Some(&golden), MAX_ABS);
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(check)).map_err(|cause| {
        cause.downcast_ref::<String>().cloned().unwrap_or_else(|| "a panic".into())
    })
}

#[test]
fn every_converted_family_has_the_logits_of_its_model() {
    let files = files();
    assert!(files.len() >= 40, "{} files", files.len());
    let mut wrong = Vec::new();
    for file in &files {
        if let Err(error) = compare(file) {
            wrong.push(format!("{}: {error}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_file_without_a_head_is_tied() {
    let is_tied = |name: &str| {
        let file = golden().join("gguf_families").join(name);
        Checkpoint::open(&file).unwrap().config.tied
    };
    assert!(is_tied("gemma3_text-six.gguf") && is_tied("llama-one.gguf"));
    assert!(!is_tied("gemma3_text-untied.gguf") && !is_tied("mistral3.gguf"));
}
