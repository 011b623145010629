//! Mixtures of experts that are not what they should be: each is refused by name, with exit code 2
//! and nothing on stdout.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::path::Path;
use std::process::Command;

use evalkit::checkpoint::{Checkpoint, Role, TensorId};
use safetensors::Dtype;
use serde_json::{Value, json};

use crate::fixtures::edited::{Edited, Raw};

const GPT_OSS: &str = "gpt-oss-4";
const MXFP4: &str = "gpt-oss-mxfp4-4";
const QWEN: &str = "qwen3-moe-4";

/// Runs `evalkit` with `arguments` and holds what it says against `essentials`.
fn refuse(arguments: &[&str], essentials: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_evalkit")).args(arguments).output().unwrap();
    let talk = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "expected {essentials:?}, said: {talk}");
    assert!(output.stdout.is_empty(), "stdout for {essentials:?}");
    for essential in essentials {
        assert!(talk.contains(essential), "expected {essential:?}, said: {talk}");
    }
}

fn refuse_folder(folder: &Path, essentials: &[&str]) {
    refuse(&["sweep", "--text", "demo", "--model", &folder.display().to_string()], essentials);
}

/// Writes `edited` and expects that it cannot be opened.
fn refuse_to_open(edited: &Edited, essentials: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    edited.write(folder.path());
    refuse_folder(folder.path(), essentials);
}

/// Sets keys of config.json (null takes one out) and expects that the checkpoint is refused.
fn refuse_config(model: &str, changes: Value, essentials: &[&str]) {
    let mut edited = Edited::of(model);
    for (key, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => edited.config.remove(key),
            value => edited.config.insert(key.clone(), value.clone()),
        };
    }
    refuse_to_open(&edited, &[&["config.json"], essentials].concat());
}

/// Changes the tensors of the MXFP4 model and expects that it is refused.
fn refuse_tensors(change: impl Fn(&mut Edited), essentials: &[&str]) {
    let mut edited = Edited::of(MXFP4);
    change(&mut edited);
    refuse_to_open(&edited, essentials);
}

fn expert_tensor(layer: usize, name: &str) -> String {
    format!("model.layers.{layer}.mlp.experts.{name}")
}

#[test]
fn the_committed_mixtures_themselves_are_accepted() {
    for model in [GPT_OSS, MXFP4, QWEN] {
        let folder = tempfile::tempdir().unwrap();
        Edited::of(model).write(folder.path());
        Checkpoint::open(folder.path()).unwrap();
    }
}

#[test]
fn a_number_of_experts_that_makes_no_sense_is_refused() {
    let top = |n: i64| json!({ "num_experts_per_tok": n });
    refuse_config(GPT_OSS, top(9), &["`num_experts_per_tok`", "1 to 8", "found 9"]);
    refuse_config(GPT_OSS, top(0), &["`num_experts_per_tok`", "1 to 8", "found 0"]);
    refuse_config(QWEN, top(9), &["`num_experts_per_tok`", "1 to 8", "found 9"]);
    refuse_config(QWEN, top(-1), &["`num_experts_per_tok`", "-1"]);
    let other = json!({ "experts_per_token": 3 });
    refuse_config(GPT_OSS, other, &["`experts_per_token`: 3", "`num_experts_per_tok` is 2"]);
    let both = json!({ "num_experts": 7 });
    refuse_config(QWEN, both, &["`num_local_experts`: 8", "`num_experts` is 7"]);
    let none = json!({ "num_local_experts": null });
    refuse_config(QWEN, none.clone(), &["`num_experts`: missing"]);
    refuse_config(GPT_OSS, none, &["`num_local_experts`: missing"]);
    let many = json!({ "num_local_experts": 1_000_000_000_000_u64 });
    refuse_config(QWEN, many, &["experts", "found 2 x 1000000000000"]);
}

#[test]
fn sliding_windows_that_make_no_sense_are_refused() {
    let window = |value: Value| json!({ "sliding_window": value });
    refuse_config(GPT_OSS, window(0.into()), &["`sliding_window`", "1 token or more, found 0"]);
    refuse_config(GPT_OSS, window(Value::Null), &["`sliding_window`", "found none"]);
    let types = |value: Value| json!({ "layer_types": value });
    let one = types(json!(["full_attention"]));
    refuse_config(GPT_OSS, one, &["`layer_types`", "expected 2 entries", "found 1"]);
    let none = types(json!([]));
    refuse_config(GPT_OSS, none, &["`layer_types`", "expected 2 entries", "found 0"]);
    refuse_config(GPT_OSS, types(Value::Null), &["`layer_types`: missing"]);
    let unknown = types(json!(["full_attention", "chunked_attention"]));
    refuse_config(GPT_OSS, unknown, &["`layer_types`", "chunked_attention"]);
    let slides = types(json!(["full_attention", "sliding_attention"]));
    refuse_config(QWEN, slides, &["`layer_types`", "sliding_attention"]);
}

#[test]
fn a_computation_that_is_not_ours_is_refused() {
    let method = json!({ "quantization_config": { "quant_method": "gptq" } });
    refuse_config(MXFP4, method, &["quant_method", "gptq"]);
    let elsewhere = json!({ "quantization_config": { "quant_method": "mxfp4" } });
    refuse_config(QWEN, elsewhere, &["`quantization_config`"]);
    let further = json!({ "quantization_config": { "quant_method": "mxfp4", "group_size": 64 } });
    refuse_config(MXFP4, further, &["quantization_config", "`group_size`"]);
    refuse_config(GPT_OSS, json!({ "swiglu_limit": null }), &["`swiglu_limit`: missing"]);
    refuse_config(GPT_OSS, json!({ "swiglu_limit": -7.0 }), &["`swiglu_limit`", "found -7"]);
    refuse_config(GPT_OSS, json!({ "swiglu_alpha": 1.5 }), &["`swiglu_alpha`", "1.5"]);
    refuse_config(GPT_OSS, json!({ "hidden_act": "gelu" }), &["`hidden_act`", "gelu"]);
    refuse_config(QWEN, json!({ "norm_topk_prob": "yes" }), &["`norm_topk_prob`", "yes"]);
}

#[test]
fn rows_that_are_not_whole_mxfp4_blocks_are_refused() {
    let mut edited = Edited::of(MXFP4);
    edited.config.insert("hidden_size".into(), 48.into());
    let name = expert_tensor(0, "gate_up_proj_blocks");
    refuse_to_open(
        &edited,
        &[&name, "rows of 48 weights do not consist of whole MXFP4 blocks of 32"],
    );
}

#[test]
fn blocks_and_scales_that_disagree_are_refused() {
    let scales = expert_tensor(1, "gate_up_proj_scales");
    refuse_tensors(
        |edited| edited.tensor(&scales).shape = vec![8, 128, 1],
        &[&scales, "expected shape [8, 64, 2], found [8, 128, 1]"],
    );
    let blocks = expert_tensor(1, "down_proj_blocks");
    refuse_tensors(
        |edited| edited.tensor(&blocks).shape = vec![8, 64, 16],
        &[&blocks, "expected shape [8, 64, 1, 16], found [8, 64, 16]"],
    );
    refuse_tensors(
        |edited| {
            let raw = edited.tensor(&blocks);
            raw.shape[0] = 7;
            raw.bytes.truncate(7 * 64 * 16);
        },
        &[&blocks, "expected shape [8, 64, 1, 16], found [7, 64, 1, 16]"],
    );
    let bias = expert_tensor(0, "gate_up_proj_bias");
    refuse_tensors(
        |edited| edited.tensor(&bias).shape = vec![64, 8],
        &[&bias, "expected shape [8, 64], found [64, 8]"],
    );
}

#[test]
fn missing_and_surplus_parts_of_experts_are_refused() {
    let [blocks, scales] =
        ["gate_up_proj_blocks", "gate_up_proj_scales"].map(|name| expert_tensor(1, name));
    refuse_tensors(
        |e| drop(e.remove(&scales)),
        &[&blocks, "the scales of these blocks are missing"],
    );
    refuse_tensors(|e| drop(e.remove(&blocks)), &[&blocks, "not found in the checkpoint"]);
    let bias = expert_tensor(1, "down_proj_bias");
    refuse_tensors(|e| drop(e.remove(&bias)), &["experts.0.down_proj.bias", "not found"]);
    let plain = expert_tensor(0, "down_proj");
    let surplus = Raw { dtype: Dtype::BF16, shape: vec![1], bytes: vec![0, 0] };
    refuse_tensors(
        |edited| drop(edited.tensors.insert(plain.clone(), surplus.clone())),
        &[&format!("tensor {plain}"), "not expected by the architecture"],
    );
    let mut edited = Edited::of(QWEN);
    edited.remove(&expert_tensor(1, "7.up_proj.weight"));
    refuse_to_open(&edited, &[&expert_tensor(1, "7.up_proj.weight"), "not found"]);
    let mut edited = Edited::of(QWEN);
    edited.remove("model.layers.1.mlp.gate.weight");
    refuse_to_open(&edited, &["model.layers.1.mlp.gate.weight", "not found"]);
    let mut edited = Edited::of(QWEN);
    edited.config.insert("num_local_experts".into(), 7.into());
    let essentials = ["model.layers.0.mlp.gate.weight", "expected shape [7, 64], found [8, 64]"];
    refuse_to_open(&edited, &essentials);
}

#[test]
fn tensors_of_another_type_are_refused() {
    for name in ["gate_up_proj_blocks", "down_proj_scales"] {
        let name = expert_tensor(0, name);
        let widen = |edited: &mut Edited| {
            let raw = edited.tensor(&name);
            (raw.dtype, raw.bytes) = (Dtype::F16, vec![0; 2 * raw.bytes.len()]);
        };
        refuse_tensors(widen, &[&name, "expected u8, found"]);
    }
    let bias = expert_tensor(0, "down_proj_bias");
    let narrow = |edited: &mut Edited| {
        let raw = edited.tensor(&bias);
        (raw.dtype, raw.bytes) = (Dtype::U8, vec![0; raw.bytes.len() / 2]);
    };
    refuse_tensors(narrow, &[&bias, "found U8"]);
}

/// Codes the model, which reads all of it, and expects that this is refused and leaves no file.
fn refuse_to_code(edited: &Edited, essentials: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    edited.write(folder.path());
    let model = folder.path().display().to_string();
    let output = folder.path().join("coded.safetensors");
    let file = output.display().to_string();
    refuse(&["quantize", "--model", &model, "--recipe", "int8", "--output", &file], essentials);
    assert!(!output.exists());
}

#[test]
fn a_scale_of_255_is_refused_with_its_tensor_expert_row_and_block() {
    let blocks = expert_tensor(1, "gate_up_proj_blocks");
    for row in [6, 7] {
        let mut edited = Edited::of(MXFP4);
        let scales = edited.tensor(&expert_tensor(1, "gate_up_proj_scales"));
        scales.bytes[(3 * 64 + row) * 2 + 1] = 255;
        let place = format!("tensor {blocks}[3]: row {row}: the scale of block 1 is 255");
        refuse_to_code(&edited, &["model.safetensors", &place]);
    }
}

#[test]
fn an_expert_that_is_not_finite_is_refused_by_name() {
    let mut edited = Edited::of(GPT_OSS);
    let name = expert_tensor(0, "down_proj");
    let infinity = [0x80, 0x7f];
    edited.tensor(&name).bytes[2 * (5 * 32 * 64 + 9)..][..2].copy_from_slice(&infinity);
    // Stored as the transpose: its column 9 is the row 9 of the projection.
    refuse_to_code(&edited, &[&format!("{name}[5]"), "1 infinite", "row 9, column 0"]);
}

#[test]
fn shards_that_lack_what_the_index_names_are_refused() {
    let edited = Edited::of(MXFP4);
    let folder = tempfile::tempdir().unwrap();
    let is_scales = |name: &str| name.ends_with("_scales");
    let [_, second, index] = edited.write_shards(folder.path(), is_scales);
    let sound = Checkpoint::open(folder.path()).unwrap();
    let whole = tempfile::tempdir().unwrap();
    edited.write(whole.path());
    let whole = Checkpoint::open(whole.path()).unwrap();
    let id = TensorId::expert(1, 7, Role::Up);
    assert_eq!(sound.read(id).unwrap(), whole.read(id).unwrap(), "scales in another shard");
    drop(sound);

    let text = std::fs::read_to_string(&index).unwrap();
    let moved = r#""lm_head.weight":"model-00001-of-00002.safetensors""#;
    assert!(text.contains(moved));
    std::fs::write(&index, text.replace(moved, &moved.replace("00001-of", "00002-of"))).unwrap();
    let essentials =
        ["index.json", "tensor lm_head.weight", "model-00002-of", "but the index places it in"];
    refuse_folder(folder.path(), &essentials);
    std::fs::write(&index, text.replace(&format!("{moved},"), "")).unwrap();
    refuse_folder(folder.path(), &["tensor lm_head.weight", "but not in the index"]);

    std::fs::write(&index, text).unwrap();
    std::fs::remove_file(&second).unwrap();
    refuse_folder(folder.path(), &["model-00002-of-00002", "1 of 2 shards are missing"]);
}
