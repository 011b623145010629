//! GGUF files as they are read: names, shapes, row orders, configuration, and decoded weights.

use std::path::Path;

use proptest::prelude::*;

use super::build::{GgufFile, Meta};
use super::*;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::config::RopeScaling;
use crate::checkpoint::dtype::Dtype;

fn open(file: &GgufFile) -> Result<Gguf> {
    read_bytes(&file.bytes())
}

#[test]
fn a_llama_file_becomes_hugging_face_names_shapes_and_numbers() {
    let gguf = open(&GgufFile::llama()).unwrap();
    let config = &gguf.config;
    assert_eq!((config.hidden_size, config.intermediate_size, config.layers), (8, 32, 1));
    assert_eq!((config.heads, config.kv_heads, config.head_dim), (2, 1, 4));
    assert_eq!((config.vocab_size, config.max_position_embeddings), (3, 64));
    assert!(config.tied && !config.qkv_bias && !config.output_bias && !config.mlp_bias);
    let rope = &config.ropes[0];
    assert_eq!((rope.theta, rope.rotated, &rope.scaling), (10_000.0, 4, &RopeScaling::None));
    let up = &gguf.tensors["model.layers.0.mlp.up_proj.weight"];
    assert_eq!(
        (up.shape.as_slice(), up.dtype, up.rows),
        (&[32, 8][..], Dtype::F32, RowOrder::Plain)
    );
    assert_eq!(up.name, "blk.0.ffn_up.weight");
    assert_eq!(gguf.tensors.len(), 11);
    let q = gguf.tensors["model.layers.0.self_attn.q_proj.weight"].rows;
    let k = gguf.tensors["model.layers.0.self_attn.k_proj.weight"].rows;
    let interleaved = |heads| RowOrder::Interleaved { heads };
    assert_eq!((q, k), (interleaved(2), interleaved(1)));
}

/// A file with a byte-level tokenizer of 256 bytes and one merged token; `pre` names its rule.
fn with_tokenizer(pre: Option<&str>) -> GgufFile {
    let mut file = GgufFile::llama();
    let mut alphabet: Vec<char> =
        tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet().into_iter().collect();
    alphabet.sort_unstable();
    let tokens = alphabet.iter().map(char::to_string).chain(["12".into()]).collect();
    file.set("tokenizer.ggml.model", Meta::text("gpt2"));
    file.set("tokenizer.ggml.tokens", Meta::Texts(tokens));
    file.set("tokenizer.ggml.merges", Meta::Texts(vec!["1 2".into()]));
    file.set("tokenizer.ggml.bos_token_id", Meta::U32(0));
    if let Some(pre) = pre {
        file.set("tokenizer.ggml.pre", Meta::text(pre));
    }
    file.tensors.retain(|tensor| tensor.name != "token_embd.weight");
    file.float("token_embd.weight", &[8, 257]);
    file
}

fn checkpoint(file: &GgufFile) -> Checkpoint {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    std::fs::write(&path, file.bytes()).unwrap();
    Checkpoint::open(&path).unwrap()
}

#[test]
fn a_byte_level_tokenizer_without_its_rule_is_refused_until_the_rule_is_said() {
    let mut silent = checkpoint(&with_tokenizer(None));
    let error = silent.tokenizer().unwrap_err().to_string();
    for part in ["m.gguf: key tokenizer.ggml.pre", "--pretokenizer NAME", "qwen2, qwen35, refact"] {
        assert!(error.contains(part), "{error}");
    }
    let ids = |checkpoint: &Checkpoint| {
        let tokenizer = checkpoint.tokenizer().unwrap();
        (tokenizer.encode("x12", false).unwrap().ids.len(), tokenizer.hash)
    };
    silent.set_pretokenizer("llama-bpe").unwrap();
    let said = ids(&silent);
    assert_eq!(said, ids(&checkpoint(&with_tokenizer(Some("llama-bpe")))));
    assert_eq!(said.0, 2);
    // Digits one by one: the rule decides.
    assert_eq!(ids(&checkpoint(&with_tokenizer(Some("qwen2")))).0, 3);
    let mut unknown = checkpoint(&with_tokenizer(None));
    unknown.set_pretokenizer("kimi-k2").unwrap();
    assert!(unknown.tokenizer().unwrap_err().to_string().contains("kimi-k2 is not known"));
    // A file's own rule that is not known can be replaced by a known one.
    let mut other = checkpoint(&with_tokenizer(Some("kimi-k2")));
    let error = other.tokenizer().unwrap_err().to_string();
    for part in ["the pre-tokenizer kimi-k2 is not known", "--pretokenizer NAME", "qwen2, qwen35"] {
        assert!(error.contains(part), "{error}");
    }
    other.set_pretokenizer("llama-bpe").unwrap();
    assert_eq!(ids(&other), said);
}

#[test]
fn a_rule_that_the_file_contradicts_or_does_not_need_is_refused() {
    let mut named = checkpoint(&with_tokenizer(Some("qwen2")));
    named.set_pretokenizer("qwen2").unwrap();
    let error = named.set_pretokenizer("llama-bpe").unwrap_err().to_string();
    assert!(error.contains("--pretokenizer: m names qwen2, not llama-bpe"), "{error}");
    let mut other = with_tokenizer(None);
    other.set("tokenizer.ggml.model", Meta::text("llama"));
    let error = checkpoint(&other).set_pretokenizer("qwen2").unwrap_err().to_string();
    assert!(error.contains("m has no byte-level tokenizer"), "{error}");
}

#[test]
fn quantized_types_are_counted_by_weights() {
    assert_eq!(checkpoint(&GgufFile::llama()).quantized_types(), ["q8_0"]);
}

#[test]
fn qwen_files_keep_their_row_order_and_bring_biases_and_norms() {
    let mut file = GgufFile::of("qwen2");
    for (part, len) in [("attn_q", 8), ("attn_k", 4), ("attn_v", 4)] {
        file.float(&format!("blk.0.{part}.bias"), &[len]);
    }
    file.float("output.weight", &[8, 3]);
    let gguf = open(&file).unwrap();
    assert!(gguf.config.qkv_bias && !gguf.config.tied && gguf.config.qk_norm.is_none());
    assert!(gguf.tensors.values().all(|t| t.rows == RowOrder::Plain));
    assert!(gguf.tensors.contains_key("lm_head.weight"));
    let mut file = GgufFile::of("qwen3");
    file.set("qwen3.attention.key_length", Meta::U32(16));
    file.set("qwen3.attention.value_length", Meta::U32(16));
    let weights = |tensor: &super::build::Tensor| tensor.name.starts_with("blk.0.attn_");
    file.tensors.retain(|tensor| !weights(tensor) || tensor.name.ends_with("norm.weight"));
    for (part, dims) in [
        ("attn_q", &[8, 32][..]),
        ("attn_k", &[8, 16]),
        ("attn_v", &[8, 16]),
        ("attn_output", &[32, 8]),
        ("attn_q_norm", &[16]),
        ("attn_k_norm", &[16]),
    ] {
        file.float(&format!("blk.0.{part}.weight"), dims);
    }
    let gguf = open(&file).unwrap();
    assert_eq!((gguf.config.head_dim, gguf.config.qk_norm.is_some()), (16, true));
    assert!(gguf.tensors.contains_key("model.layers.0.self_attn.q_norm.weight"));
}

#[test]
fn biases_of_a_llama_are_permuted_as_their_rows_are() {
    let mut file = GgufFile::llama();
    file.float("blk.0.attn_q.bias", &[8]);
    file.float("blk.0.attn_output.bias", &[8]);
    file.float("blk.0.ffn_down.bias", &[8]);
    let gguf = open(&file).unwrap();
    let bias = &gguf.tensors["model.layers.0.self_attn.q_proj.bias"];
    assert_eq!(bias.rows, RowOrder::Interleaved { heads: 2 });
    assert!(gguf.config.qkv_bias && gguf.config.output_bias && gguf.config.mlp_bias);
}

#[test]
fn arrays_that_repeat_a_size_for_every_layer_are_that_size() {
    let mut file = GgufFile::llama();
    for (key, value) in
        [("attention.head_count", 2), ("attention.head_count_kv", 1), ("feed_forward_length", 32)]
    {
        file.set(&format!("llama.{key}"), Meta::I32s(vec![value]));
    }
    assert_eq!(open(&file).unwrap().config, open(&GgufFile::llama()).unwrap().config);
}

#[test]
fn rope_factors_are_divisors_of_the_frequencies() {
    let mut file = GgufFile::llama();
    file.float("rope_freqs.weight", &[2]);
    file.tensor("rope_freqs.weight").bytes = [1.0f32, 8.0].map(f32::to_le_bytes).concat();
    let gguf = open(&file).unwrap();
    assert_eq!(gguf.config.ropes[0].scaling, RopeScaling::Factors(vec![1.0, 8.0]));
    assert!(!gguf.tensors.keys().any(|name| name.contains("rope")));
    let mut file = GgufFile::llama();
    file.set("llama.rope.scaling.type", Meta::text("linear"));
    file.set("llama.rope.scaling.factor", Meta::F32(4.0));
    file.set("llama.rope.freq_base", Meta::F32(5e5));
    let rope = open(&file).unwrap().config.ropes.remove(0);
    assert_eq!((rope.theta, rope.scaling), (5e5, RopeScaling::Linear { factor: 4.0 }));
}

#[test]
fn the_order_of_rows_is_the_inverse_of_the_conversion() {
    // numpy: arange(12).reshape(2, 2, 3).swapaxes(1, 2).ravel(), where stored row i holds logical
    // row stored[i].
    let stored = [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11];
    for (at, &logical) in stored.iter().enumerate() {
        assert_eq!(RowOrder::Interleaved { heads: 2 }.place(logical, 12), at);
    }
}

#[test]
fn metadata_keeps_values_of_every_kind() {
    let mut file = GgufFile::llama();
    file.set("tokenizer.ggml.tokens", Meta::Texts(vec!["a".into(), "é".into()]));
    file.set("tokenizer.ggml.scores", Meta::F32s(vec![0.5, -1.0]));
    file.set("tokenizer.ggml.token_type", Meta::I32s(vec![1, -6]));
    let metadata = open(&file).unwrap().metadata;
    let tokens = metadata.texts("tokenizer.ggml.tokens").unwrap().unwrap();
    assert_eq!(tokens, ["a", "é"]);
    assert_eq!(metadata.floats("tokenizer.ggml.scores").unwrap().unwrap(), [0.5, -1.0]);
    assert_eq!(metadata.integers("tokenizer.ggml.token_type").unwrap().unwrap(), [1, -6]);
    assert_eq!(metadata.integer("llama.block_count").unwrap(), Some(1));
    let by_layer = |key: &str, layers| metadata.per_layer(key, layers);
    assert_eq!(by_layer("tokenizer.ggml.token_type", 2).unwrap(), Some(vec![1, -6]));
    assert_eq!(by_layer("llama.block_count", 3).unwrap(), Some(vec![1, 1, 1]));
    assert_eq!(by_layer("llama.missing", 3).unwrap(), None);
    assert!(by_layer("tokenizer.ggml.token_type", 3).is_err());
    assert!(metadata.text("tokenizer.ggml.tokens").is_err());
}

proptest! {
    #[test]
    fn every_logical_row_has_one_stored_row(heads in 1usize..9, half in 1usize..40) {
        let rows = heads * half * 2;
        // reshape(heads, 2, half).swapaxes(1, 2): stored [h, j, s] is logical [h, s, j].
        let mut expected = vec![0; rows];
        for (h, j, s) in (0..heads).flat_map(|h| (0..half).flat_map(move |j| [(h, j, 0), (h, j, 1)])) {
            expected[(h * 2 + s) * half + j] = (h * half + j) * 2 + s;
        }
        let order = RowOrder::Interleaved { heads };
        let found: Vec<_> = (0..rows).map(|row| order.place(row, rows)).collect();
        prop_assert_eq!(&found, &expected);
        let mut sorted = found;
        sorted.sort_unstable();
        prop_assert_eq!(sorted, (0..rows).collect::<Vec<_>>());
    }

    #[test]
    fn damaged_files_are_refused_or_read_but_never_panic(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
        cuts in any::<bool>(),
        at_header in any::<bool>(),
    ) {
        let mut file = GgufFile::llama();
        file.float("rope_freqs.weight", &[2]);
        let mut bytes = file.bytes();
        let header = 1200.min(bytes.len());
        for (at, value) in changes {
            let at = at.index(if at_header { header } else { bytes.len() });
            bytes[at] = value;
        }
        if cuts {
            bytes.truncate(cut.index(bytes.len() + 1));
        }
        if let Ok(gguf) = read_bytes(&bytes) {
            for tensor in gguf.tensors.values() {
                prop_assert!(tensor.range.end <= bytes.len());
                let weights: usize = tensor.shape.iter().product();
                let mut out = vec![0.0; weights];
                tensor.dtype.decode(&bytes[tensor.range.clone()], &mut out).unwrap();
            }
        }
    }
}

/// Written by `tests/golden/make_gguf.py` with the gguf package of llama.cpp.
fn golden(name: &str) -> std::path::PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden")).join(name)
}

#[test]
fn weights_decode_as_llama_cpps_own_package_decodes_them() {
    let file = FileBytes::map(&golden("tiny-llama.gguf")).unwrap();
    let gguf = read(&file).unwrap();
    let expected = std::fs::read(golden("tiny-llama.f32")).unwrap();
    let expected = safetensors::SafeTensors::deserialize(&expected).unwrap();
    let mut types = std::collections::BTreeSet::new();
    for (name, tensor) in &gguf.tensors {
        types.insert(tensor.dtype.name());
        let view = expected.tensor(name).unwrap();
        assert_eq!(view.shape(), tensor.shape, "{name}");
        let (rows, width) = match tensor.shape[..] {
            [rows, width] => (rows, width),
            _ => (tensor.shape[0], 1),
        };
        let mut stored = vec![0.0; rows * width];
        tensor.dtype.decode(&file[tensor.range.clone()], &mut stored).unwrap();
        for row in 0..rows {
            let at = tensor.rows.place(row, rows) * width;
            let ours = &stored[at..at + width];
            let theirs: Vec<f32> = view.data()[row * width * 4..(row + 1) * width * 4]
                .as_chunks::<4>()
                .0
                .iter()
                .map(|&word| f32::from_le_bytes(word))
                .collect();
            assert_eq!(ours, theirs, "{name}, row {row}");
        }
    }
    let types: Vec<_> = types.iter().map(String::as_str).collect();
    assert_eq!(types, ["bf16", "f16", "f32", "q4_0", "q4_1", "q5_0", "q5_1", "q8_0"]);
}
