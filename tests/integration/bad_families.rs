//! Configurations of families whose words mean another model to transformers, or would pass over a part of
//! the file: each is refused by name. Without the change, all of them are described.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use evalkit::checkpoint::Checkpoint;
use serde_json::{Map, Value, json};

fn golden(model: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/families").join(model)
}

/// A configuration of a committed model with changed keys; null takes one out.
fn changed(model: &str, config: &str, changes: &Value) -> Map<String, Value> {
    let text = std::fs::read(golden(model).join(config)).unwrap();
    let mut keys: Map<String, Value> = serde_json::from_slice(&text).unwrap();
    for (key, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => keys.remove(key),
            value => keys.insert(key.clone(), value.clone()),
        };
    }
    keys
}

/// What `inspect` says of a configuration without weights.
fn inspect(keys: &Map<String, Value>) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    std::fs::write(&path, serde_json::to_vec(keys).unwrap()).unwrap();
    Command::new(env!("CARGO_BIN_EXE_evalkit")).arg("inspect").arg(path).output().unwrap()
}

#[test]
fn keys_that_transformers_reads_in_another_way_are_refused_by_name() {
    let (full, sliding) = ("full_attention", "sliding_attention");
    let linear = json!({"rope_type": "linear", "factor": 3.0});
    let old = json!({"type": "linear", "factor": 3.0, "rope_theta": 1e4});
    for (model, config, changes, key) in [
        ("mistral-window", "config.v5.json", json!({"rope_scaling": linear}), "rope_scaling"),
        ("gpt_neox", "config.v5.json", json!({"rope_scaling": linear}), "rope_scaling"),
        (
            "gemma3_text",
            "config.v5.json",
            json!({"rope_parameters": {"rope_type": "default", "rope_theta": 77.0}}),
            "rope_parameters",
        ),
        (
            "gemma3_text",
            "config.v5.json",
            json!({"rope_parameters": {full: old, sliding: {"rope_type": "default"}}}),
            "rope_parameters",
        ),
        (
            "mixtral",
            "config.json",
            json!({"sliding_window": 9, "layer_types": [full, sliding]}),
            "layer_types",
        ),
        (
            "phi3",
            "config.json",
            json!({"sliding_window": 9, "layer_types": [full, full]}),
            "layer_types",
        ),
        (
            "starcoder2",
            "config.json",
            json!({"sliding_window": 9, "layer_types": [full, full]}),
            "layer_types",
        ),
        (
            "ministral3",
            "config.json",
            json!({"sliding_window": 9, "layer_types": [sliding, full]}),
            "layer_types",
        ),
        ("gemma2", "config.json", json!({"sliding_window_pattern": 3}), "sliding_window_pattern"),
        (
            "qwen2_moe",
            "config.json",
            json!({"use_sliding_window": false, "sliding_window": 9,
                "layer_types": [sliding, sliding]}),
            "layer_types",
        ),
    ] {
        let keys = changed(model, config, &json!({}));
        assert!(inspect(&keys).status.success(), "{model} {config}");
        let layers = keys["num_hidden_layers"].as_u64().unwrap();
        let mut keys = changed(model, config, &changes);
        // A list for as many layers as the model has.
        if let Some(Value::Array(types)) = keys.get_mut("layer_types") {
            let (first, last) = (types[0].clone(), types[1].clone());
            *types = vec![first; usize::try_from(layers).unwrap()];
            *types.last_mut().unwrap() = last;
        }
        let output = inspect(&keys);
        let talk = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{model} {changes}: {talk}");
        assert!(talk.contains(&format!("key `{key}`")), "{model} {changes}: {talk}");
    }
}

/// A copy of a committed model whose configuration says other things.
fn copy(model: &str, changes: &Value) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let keys = changed(model, "config.json", changes);
    std::fs::write(folder.path().join("config.json"), serde_json::to_vec(&keys).unwrap()).unwrap();
    let weights = "model.safetensors";
    std::fs::copy(golden(model).join(weights), folder.path().join(weights)).unwrap();
    folder
}

#[test]
fn layers_behind_the_last_are_skipped_only_as_far_as_the_configuration_says() {
    for (model, changes) in [
        ("qwen2_moe", json!({"num_hidden_layers": 1, "layer_types": null})),
        ("deepseek_v3", json!({"num_hidden_layers": 1, "num_nextn_predict_layers": 0})),
        ("llama", json!({"num_hidden_layers": 1})),
    ] {
        let cut = copy(model, &changes);
        let refused = Checkpoint::open(cut.path()).unwrap_err().to_string();
        assert!(refused.contains("model.layers.1."), "{model}: {refused}");
    }
    let predicting = json!({"num_hidden_layers": 1, "num_nextn_predict_layers": 8});
    let checkpoint = Checkpoint::open(copy("deepseek_v3", &predicting).path()).unwrap();
    assert_eq!(checkpoint.config.layers, 1);
}

#[test]
fn the_begin_of_text_token_of_a_wrapper_is_that_of_its_language_model() {
    let folder = copy("gemma3", &json!({}));
    let tokenizer = json!({
        "version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer": null,
        "truncation": null, "padding": null, "decoder": null,
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "model": {"type": "BPE", "vocab": {"a": 0, "<s>": 1, "b": 2}, "merges": []},
    });
    let bos = |config: Value| {
        let path = folder.path().join("config.json");
        std::fs::write(path, serde_json::to_vec(&config).unwrap()).unwrap();
        Checkpoint::open(folder.path()).unwrap().tokenizer().unwrap().bos
    };
    std::fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let mut config = Value::Object(changed("gemma3", "config.json", &json!({})));
    config["text_config"]["bos_token_id"] = json!(1);
    config.as_object_mut().unwrap().remove("bos_token_id");
    assert_eq!(bos(config.clone()), Some(1));
    config["text_config"]["bos_token_id"] = Value::Null;
    assert_eq!(bos(config), None);
}
