//! Rows of the table of architectures: what files of each decide.

use super::build::{GgufFile, Meta};
use super::*;
use crate::checkpoint::config::{LayerKind, Mixer, QueryGrowth, RopeScaling};
use crate::checkpoint::families;
use crate::checkpoint::{Checkpoint, Role, TensorId};

/// A file of this architecture with more keys behind the prefix.
fn of(architecture: &str, keys: &[(&str, Meta)]) -> GgufFile {
    let mut file = GgufFile::of(architecture);
    for (key, value) in keys {
        file.set(&format!("{architecture}.{key}"), value.clone());
    }
    file
}

fn config(architecture: &str, keys: &[(&str, Meta)]) -> Config {
    let mut file = of(architecture, keys);
    file.tensors.retain(|tensor| tensor.name == "token_embd.weight");
    read_bytes(&file.bytes()).unwrap().config
}

fn refusal(architecture: &str, keys: &[(&str, Meta)]) -> String {
    read_bytes(&of(architecture, keys).bytes()).unwrap_err().to_string()
}

fn windows(config: &Config) -> Vec<Option<usize>> {
    (0..config.layers).map(|layer| config.window_tokens(layer)).collect()
}

const EXPERTS_OF: [(&str, Meta); 3] = [
    ("expert_count", Meta::U32(4)),
    ("expert_used_count", Meta::U32(2)),
    ("expert_feed_forward_length", Meta::U32(16)),
];

#[test]
fn every_row_names_a_family_and_implies_json() {
    for row in architectures::all() {
        for family in [Some(row.family), row.with.map(|(_, family)| family)].into_iter().flatten() {
            assert!(families::named(family).is_some(), "{}: {family}", row.name);
        }
        serde_json::from_str::<serde_json::Value>(row.implied).unwrap();
        assert!(std::ptr::eq(architectures::named(row.name).unwrap(), row), "{} twice", row.name);
    }
}

#[test]
fn a_key_decides_between_two_families() {
    assert_eq!(config("llama", &[]).family, "llama");
    let mixture = config("llama", &EXPERTS_OF);
    let experts = mixture.experts.unwrap();
    assert_eq!((mixture.family, experts.count, experts.per_token), ("mixtral", 4, 2));
    assert_eq!(experts.intermediate_size, 16);
    let window = ("attention.sliding_window", Meta::U32(8));
    let theta = ("rope.freq_base_swa", Meta::F32(500.0));
    let olmo3 = config("olmo2", &[("block_count", Meta::U32(4)), window, theta]);
    assert_eq!(olmo3.family, "olmo3");
    assert_eq!(windows(&olmo3), [Some(8), Some(8), Some(8), None]);
    assert_eq!((olmo3.ropes[0].theta, olmo3.ropes[1].theta), (10_000.0, 500.0));
    assert_eq!(config("olmo2", &[("attention.sliding_window", Meta::U32(0))]).family, "olmo2");
}

#[test]
fn windows_are_those_of_the_array_or_of_the_usual_pattern() {
    let keys = |pattern: Option<Meta>| {
        let window = ("attention.sliding_window", Meta::U32(8));
        let mut keys = vec![("block_count", Meta::U32(3)), window];
        keys.extend(pattern.map(|pattern| ("attention.sliding_window_pattern", pattern)));
        keys
    };
    let slides = |pattern| windows(&config("gemma2", &keys(pattern)));
    assert_eq!(slides(None), [Some(8), None, Some(8)]);
    assert_eq!(slides(Some(Meta::U32(3))), [Some(8), Some(8), None]);
    assert_eq!(slides(Some(Meta::I32s(vec![0, 1, 1]))), [None, Some(8), Some(8)]);
    let found = refusal("gemma2", &keys(Some(Meta::I32s(vec![1]))));
    assert!(found.contains("expected a number, or one for each of 3 layers"), "{found}");
    assert_eq!(windows(&config("gemma3", &[])), [None]);
    assert_eq!(windows(&config("gemma2", &[])), [Some(4096)]);
}

#[test]
fn the_factor_on_scores_follows_from_sizes_or_from_its_key() {
    let blocks = |number| [("block_count", Meta::U32(number))];
    let head = [("attention.key_length", Meta::U32(16)), ("attention.value_length", Meta::U32(16))];
    let scale = |name, number| {
        let keys = [&blocks(number)[..], &head[..]].concat();
        config(name, &keys).attention_scale
    };
    assert_eq!((scale("gemma2", 26), scale("gemma3", 46)), (0.25, 0.25));
    assert_eq!((scale("gemma2", 46), scale("gemma3", 62)), (0.5, 0.5));
    assert_eq!(config("granite", &[]).attention_scale, 0.5);
    let given = ("attention.scale", Meta::F32(0.125));
    assert_eq!(config("granite", &[given]).attention_scale, 0.125);
}

#[test]
fn layers_without_key_value_heads_are_convolutions() {
    let keys = |heads: Vec<i32>| {
        [
            ("block_count", Meta::U32(heads.len() as u32)),
            ("shortconv.l_cache", Meta::U32(3)),
            ("attention.head_count_kv", Meta::I32s(heads)),
        ]
    };
    let mixed = config("lfm2", &keys(vec![0, 1, 0]));
    let is_conv = |kind: &LayerKind| kind.mixer == Mixer::ShortConv;
    let convolutions: Vec<bool> = mixed.kinds.iter().map(is_conv).collect();
    assert_eq!((convolutions, mixed.kv_heads), (vec![true, false, true], 1));
    let found = refusal("lfm2", &keys(vec![0, 1, 2]));
    assert!(found.contains("expected 0 or the same number in every layer, found 1 and 2"));
    let found = refusal("lfm2", &keys(vec![0, 0]));
    assert!(found.contains("head_count_kv: expected a positive 32-bit number, found 0"));
}

#[test]
fn blocks_that_predict_several_tokens_are_passed_over() {
    let keys = |predicting: u32| {
        let more = [
            ("block_count", Meta::U32(2)),
            ("nextn_predict_layers", Meta::U32(predicting)),
            ("leading_dense_block_count", Meta::U32(1)),
        ];
        [&EXPERTS_OF[..], &more[..]].concat()
    };
    let mut file = of("glm4moe", &keys(1));
    file.tensors.retain(|tensor| tensor.name != "blk.0.ffn_norm.weight");
    file.float("blk.0.post_attention_norm.weight", &[8]);
    file.float("blk.1.nextn.eh_proj.weight", &[16, 8]);
    let gguf = read_bytes(&file.bytes()).unwrap();
    assert_eq!((gguf.config.layers, gguf.tensors.len()), (1, 11));
    let found = refusal("glm4moe", &keys(2));
    assert!(found.contains("nextn_predict_layers: expected less than the 2 blocks"), "{found}");
}

#[test]
fn values_that_are_not_computed_are_refused_by_name() {
    let gating = ("expert_gating_func", Meta::U32(1));
    let found = refusal("glm4moe", &[&EXPERTS_OF[..], &[gating]].concat());
    assert!(found.contains("the key glm4moe.expert_gating_func asks for"), "{found}");
    let found = refusal("granite", &[("rope.scaling.finetuned", Meta::Bool(false))]);
    assert!(found.contains("the key granite.rope.scaling.finetuned asks for"), "{found}");
    assert!(config("granite", &[("rope.scaling.finetuned", Meta::Bool(true))]).tied);
    let mut olmo = of("olmo", &[("attention.layer_norm_epsilon", Meta::F32(1e-6))]);
    olmo.remove("olmo.attention.layer_norm_rms_epsilon");
    let found = read_bytes(&olmo.bytes()).unwrap_err().to_string();
    assert!(found.contains("key olmo.attention.layer_norm_epsilon: expected 0.00001"), "{found}");
    let found = refusal("qwen3moe", &EXPERTS_OF[..2]);
    assert!(found.contains("the key qwen3moe.expert_feed_forward_length is missing"), "{found}");
}

#[test]
fn yarn_has_the_factor_of_the_file_and_queries_grow_where_it_says() {
    let yarn = [
        ("rope.scaling.type", Meta::text("yarn")),
        ("rope.scaling.factor", Meta::F32(16.0)),
        ("rope.scaling.original_context_length", Meta::U32(32)),
    ];
    let factor = |more: &[(&str, Meta)]| {
        let config = config("mistral3", &[&yarn[..], more].concat());
        let RopeScaling::Yarn { attention_factor, .. } = config.ropes[0].scaling else {
            panic!("{:?}", config.ropes)
        };
        ((attention_factor * 1e4).round() as u32, config.query_growth)
    };
    assert_eq!(factor(&[]), (12773, None));
    let log = ("rope.scaling.yarn_log_multiplier", Meta::F32(1.0));
    let growth = ("attention.temperature_scale", Meta::F32(0.5));
    let expected = QueryGrowth { beta: 0.5, original_max_position_embeddings: 32 };
    assert_eq!(factor(&[log, growth]), (10000, Some(expected)));
    assert_eq!(factor(&[("rope.scaling.attn_factor", Meta::F32(2.0))]).0, 25545);
    assert_eq!(factor(&[("rope.scaling.yarn_attn_factor", Meta::F32(1.5))]).0, 15000);
}

/// A llama with two experts.
fn mixture() -> GgufFile {
    let keys = [
        ("expert_count", Meta::U32(2)),
        ("expert_used_count", Meta::U32(1)),
        ("feed_forward_length", Meta::U32(4)),
    ];
    let mut file = of("llama", &keys);
    let is_dense = |name: &str| ["gate", "up", "down"].iter().any(|part| name.contains(part));
    file.tensors.retain(|tensor| !is_dense(&tensor.name));
    file.float("blk.0.ffn_gate_inp.weight", &[8, 2]);
    file.float("blk.0.ffn_gate_exps.weight", &[8, 4, 2]);
    file.float("blk.0.ffn_up_exps.weight", &[8, 4, 2]);
    file.float("blk.0.ffn_down_exps.weight", &[4, 8, 2]);
    file
}

#[test]
fn experts_are_parts_of_a_stack_and_have_their_own_factors() {
    let read = |file: &GgufFile, expert| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.gguf");
        std::fs::write(&path, file.bytes()).unwrap();
        let id = TensorId::expert(0, expert, Role::Gate);
        Checkpoint::open(&path).unwrap().read(id).unwrap()
    };
    let mut file = mixture();
    let of_expert = |expert: u16| (expert * 32..expert * 32 + 32).map(f32::from);
    assert_eq!(read(&file, 1), of_expert(1).collect::<Vec<f32>>());
    file.float("blk.0.ffn_gate_exps.scale", &[2]);
    let factors = [0.5f32, 3.0].map(f32::to_le_bytes).concat();
    file.tensor("blk.0.ffn_gate_exps.scale").bytes = factors;
    assert_eq!(read(&file, 0), of_expert(0).map(|w| w * 0.5).collect::<Vec<f32>>());
    assert_eq!(read(&file, 1), of_expert(1).map(|w| w * 3.0).collect::<Vec<f32>>());
    file.tensor("blk.0.ffn_up_exps.weight").dims = vec![8, 8];
    let found = read_bytes(&file.bytes()).unwrap_err().to_string();
    assert!(found.contains("expected shape [2, 4, 8], found [8, 8]"), "{found}");
}

#[test]
fn the_numbers_of_xielu_are_those_of_the_metadata() {
    let of_apertus = |beta: f32, numbers: Vec<f32>| {
        let mut file = of("apertus", &[]);
        file.tensors.retain(|tensor| tensor.name == "token_embd.weight");
        file.set("xielu.beta", Meta::F32s(vec![beta]));
        file.set("xielu.eps", Meta::F32s(vec![-1e-6]));
        file.set("xielu.alpha_n", Meta::F32s(vec![0.75]));
        file.set("xielu.alpha_p", Meta::F32s(numbers));
        file
    };
    let bytes = of_apertus(0.5, vec![0.25]).bytes();
    let gguf = read_bytes(&bytes).unwrap();
    for (part, expected) in [("positive", 0.25f32), ("negative", 0.75)] {
        let stored = &gguf.tensors[&format!("model.layers.0.mlp.xielu_{part}.weight")];
        assert_eq!(bytes[stored.range.clone()], expected.to_le_bytes());
    }
    let refused = |file: GgufFile| read_bytes(&file.bytes()).unwrap_err().to_string();
    let found = refused(of_apertus(0.5, vec![0.25; 2]));
    assert!(found.contains("key xielu.alpha_p: expected a number for each of 1 layers, found 2"));
    let found = refused(of_apertus(0.6, vec![0.25]));
    assert!(found.contains("key xielu.beta: evalkit computes 0.5 only, found 0.6"), "{found}");
    let mut file = of_apertus(0.5, vec![0.25]);
    file.remove("xielu.alpha_n");
    assert!(refused(file).contains("the key xielu.alpha_n is missing"));
}

#[test]
fn numbers_that_are_not_finite_are_refused() {
    let nan = |name, key| refusal(name, &[(key, Meta::F32(f32::NAN))]);
    let found = nan("gemma2", "final_logit_softcapping");
    assert!(found.contains("softcapping: expected a finite number, found NaN"), "{found}");
    let found = nan("mistral3", "attention.temperature_scale");
    assert!(found.contains("temperature_scale: expected a finite number, found NaN"), "{found}");
}
