//! `evalkit inspect` on a checkpoint whose weights are not there: configuration and index alone
//! say the same as the whole folder.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use safetensors::SafeTensors;
use serde_json::{Value, json};

fn golden(model: &str) -> PathBuf {
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let folders = ["mixtures", "families"].map(|kind| goldens.join(kind).join(model));
    folders.into_iter().find(|folder| folder.exists()).unwrap()
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
fn what_a_wrapper_holds_beside_its_language_model_is_said() {
    for (model, count, parts) in [
        ("gemma3", 23, "multi_modal_projector, vision_tower"),
        ("gemma3-current", 23, "multi_modal_projector, vision_tower"),
        ("mistral3", 15, "multi_modal_projector, vision_tower"),
    ] {
        let (tables, warnings) = answer(&golden(model));
        let skipped = format!("{count} other tensors (");
        let parts = format!(") are skipped: {parts}");
        assert!(warnings.contains(&skipped) && warnings.contains(&parts), "{model}: {warnings}");
        // The index counts what is skipped, so its total proves no type.
        let described = Described::of(model);
        described.write_index();
        let (found, of_index) = answer(described.folder.path());
        assert!(of_index.contains(&skipped) && of_index.contains(&parts), "{model}: {of_index}");
        assert!(of_index.contains("bytes counts what is skipped"), "{model}: {of_index}");
        assert_eq!(found, tables, "{model}");
    }
    let (_, warnings) = answer(&golden("gpt-oss-4"));
    assert!(!warnings.contains("skipped"), "{warnings}");
}

#[test]
fn every_configuration_of_a_golden_family_is_described() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/families");
    let theirs = Path::new("../shared/models/golden");
    if !theirs.exists() {
        eprintln!("skipped: there is no {}", theirs.display());
    }
    let (mut described, mut refused) = (0, Vec::new());
    for folders in [own.as_path(), theirs] {
        for folder in std::fs::read_dir(folders).into_iter().flatten() {
            for file in std::fs::read_dir(folder.unwrap().path()).unwrap() {
                let path = file.unwrap().path();
                let name = path.file_name().unwrap().to_string_lossy();
                if !(name.starts_with("config") && name.ends_with(".json")) {
                    continue;
                }
                let output = inspect(&path);
                if output.status.success() {
                    described += 1;
                    continue;
                }
                let talk = String::from_utf8_lossy(&output.stderr).into_owned();
                assert_eq!(output.status.code(), Some(2), "{}: {talk}", path.display());
                refused.push((path.clone(), talk));
            }
        }
    }
    assert!(described >= 150, "{described} were described");
    for (path, talk) in refused {
        let keys = ["qk_layernorm", "rope_interleave", "scale_attn_", "qwen3_5"];
        assert!(keys.iter().any(|key| talk.contains(key)), "{}: {talk}", path.display());
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

#[test]
fn a_folder_of_packages_is_not_taken_for_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(golden("qwen3").join("config.json"), folder.path().join("config.json")).unwrap();
    assert!(inspect(folder.path()).status.success());
    std::fs::write(folder.path().join("model.json"), "{}").unwrap();
    let output = inspect(folder.path());
    let talk = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{talk}");
    assert!(talk.contains("found a folder of packages") && talk.contains("--device"), "{talk}");
}
