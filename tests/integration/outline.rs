//! `evalkit inspect` on a checkpoint whose weights are not there: configuration and index alone
//! say the same as the whole folder.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use safetensors::SafeTensors;
use serde_json::{Value, json};

fn golden(model: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/mixtures").join(model)
}

fn inspect(path: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_evalkit"));
    command.args(["inspect", "--format", "json"]).arg(path).output().unwrap()
}

/// The document's tables, and what it warns of.
fn answer(path: &Path) -> (Vec<Value>, String) {
    let output = inspect(path);
    let talk = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{talk}");
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    (document["tables"].as_array().unwrap().clone(), document["warnings"].to_string())
}

/// A copy of a golden checkpoint's configuration and the index that its weights would have.
struct Described {
    folder: tempfile::TempDir,
    names: BTreeMap<String, String>,
    total_bytes: usize,
}

impl Described {
    fn of(model: &str) -> Self {
        let golden = golden(model);
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(golden.join("config.json"), folder.path().join("config.json")).unwrap();
        let bytes = std::fs::read(golden.join("model.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let shard = |name: &str| (name.to_owned(), "model-00001-of-00001.safetensors".to_owned());
        let names = tensors.names().into_iter().map(shard).collect();
        let total_bytes = tensors.tensors().iter().map(|(_, tensor)| tensor.data().len()).sum();
        Described { folder, names, total_bytes }
    }

    fn write_index(&self) {
        let index = json!({"metadata": {"total_size": self.total_bytes}, "weight_map": self.names});
        let path = self.folder.path().join("model.safetensors.index.json");
        std::fs::write(path, index.to_string()).unwrap();
    }

    fn refused_for(&self, essential: &str) {
        self.write_index();
        let output = inspect(self.folder.path());
        let talk = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{talk}");
        assert!(output.stdout.is_empty() && talk.contains(essential), "{talk}");
    }
}

#[test]
fn config_and_index_say_what_the_weights_would() {
    for model in ["gpt-oss-4", "gpt-oss-mxfp4-4", "qwen3-moe-4"] {
        let (expected, warnings) = answer(&golden(model));
        assert!(!warnings.contains("weights are missing"), "{warnings}");
        let described = Described::of(model);
        described.write_index();
        let (found, warnings) = answer(described.folder.path());
        assert_eq!(found, expected, "{model}");
        let proof = format!("the index's total of {} bytes matches", described.total_bytes);
        assert!(warnings.contains(&proof), "{warnings}");
    }
}

#[test]
fn an_index_of_another_model_is_refused() {
    let mut described = Described::of("gpt-oss-mxfp4-4");
    described.total_bytes += 2;
    described.refused_for("expected a total size of");

    let mut described = Described::of("qwen3-moe-4");
    described.names.remove("model.layers.0.mlp.gate.weight").unwrap();
    described.refused_for("tensor model.layers.0.mlp.gate.weight");

    let mut described = Described::of("gpt-oss-mxfp4-4");
    described.names.remove("model.layers.1.mlp.experts.down_proj_blocks").unwrap();
    described.refused_for("model.layers.1.mlp.experts.down_proj_blocks");
}

#[test]
fn weights_that_are_not_there_cannot_be_scored() {
    let described = Described::of("gpt-oss-4");
    described.write_index();
    let output = Command::new(env!("CARGO_BIN_EXE_evalkit"))
        .args(["sweep", "--text", "demo", "--model"])
        .arg(described.folder.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("1 of 1 shard is missing"));
}

#[test]
fn gpt_oss_20b_can_be_ruled_out_before_it_is_downloaded() {
    let config = Path::new("../shared/models/gpt-oss-20b.config.json");
    if !config.exists() {
        eprintln!("skipped: there is no {}", config.display());
        return;
    }
    let (tables, warnings) = answer(config);
    assert!(warnings.contains("types are assumed: bf16, experts in mxfp4"), "{warnings}");
    let structure = tables[0]["rows"].as_array().unwrap();
    let sum = |key: &str| structure.iter().map(|row| row[key].as_u64().unwrap()).sum::<u64>();
    assert_eq!((sum("weights"), sum("size_bytes")), (20_914_757_184, 13_761_264_768));
}
