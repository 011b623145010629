//! Configurations that are incomplete, contradict themselves, or ask for another computation.

use serde_json::{Value, json};

use crate::fixtures::{Place, Tiny, run, told};

const UNKNOWN: &str = "hint: if it does not change the computation, remove it from config.json; \
                       otherwise this model is not supported";
const OTHER_MODEL: &str =
    "hint: the model would be scored as another one; use a checkpoint without it";

const OTHER_VALUE: &str =
    "hint: a model with another value computes something else: it is not supported";

/// Refuses the tiny model with some keys set, or removed where the value is null.
fn refuses(keys: Value, error: &str) {
    let place = Place::new(&Tiny::default(), 100);
    let mut config = Tiny::default().config();
    for (key, value) in keys.as_object().unwrap() {
        config[key] = value.clone();
    }
    std::fs::write(place.path("model/config.json"), config.to_string()).unwrap();
    place.refuses(place.sweep(&[]), 2, &format!("model/config.json: {error}"));
}

#[test]
fn a_needed_key_that_is_missing_is_named() {
    for key in [
        "model_type",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "vocab_size",
        "max_position_embeddings",
        "rms_norm_eps",
    ] {
        refuses(json!({ key: null }), &format!("key `{key}`: missing"));
    }
}

#[test]
fn a_key_that_is_not_known_is_refused_with_its_value() {
    let error = format!("key `logit_scale`: evalkit does not know it (value 0.25)\n{UNKNOWN}");
    refuses(json!({"logit_scale": 0.25}), &error);
}

#[test]
fn a_known_key_with_another_value_is_refused_with_the_values_that_are_computed() {
    let known = "\"silu\" or \"swish\" or \"gelu\" or \"gelu_new\" or \"gelu_fast\" or \
                 \"gelu_pytorch_tanh\" or \"relu2\"";
    let error =
        format!("key `hidden_act`: evalkit computes {known} only, found \"tanh\"\n{OTHER_VALUE}");
    refuses(json!({"hidden_act": "tanh"}), &error);
    let error =
        format!("key `pretraining_tp`: evalkit computes 1 or 0 only, found 2\n{OTHER_VALUE}");
    refuses(json!({"pretraining_tp": 2}), &error);
}

#[test]
fn a_configuration_with_a_byte_order_mark_is_read_and_one_with_infinity_says_where() {
    let place = Place::new(&Tiny::default(), 100);
    let path = place.path("model/config.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("\u{feff}{text}")).unwrap();
    run(&mut place.evalkit(&["inspect", "model"]), 0);
    let infinite = text.replacen('{', "{\"time_step_limit\": [0.0, Infinity],", 1);
    std::fs::write(&path, infinite).unwrap();
    let said = told(&run(&mut place.evalkit(&["inspect", "model"]), 2));
    let expected = "not a JSON object: key `time_step_limit`: Infinity is no JSON number";
    assert!(said.contains(expected) && said.contains("line 1 column"), "{said}");
}

#[test]
fn a_model_type_that_is_not_known_is_refused() {
    let place = Place::new(&Tiny::default(), 100);
    for (name, words) in [
        (
            "rwkv",
            ["key `model_type`: expected llama, qwen2, ", "found \"rwkv\"\nhint: evalkit does"],
        ),
        ("qwen3_next", ["qwen3_next is not supported: its gated delta rule", "docs/models.md"]),
    ] {
        let mut config = Tiny::default().config();
        config["model_type"] = name.into();
        std::fs::write(place.path("model/config.json"), config.to_string()).unwrap();
        let said = told(&run(&mut place.sweep(&[]), 2));
        assert!(words.iter().all(|words| said.contains(words)), "{said}");
    }
}

#[test]
fn a_key_of_the_wrong_type_is_refused_with_what_was_found() {
    refuses(
        json!({"hidden_size": "64"}),
        "key `hidden_size`: cannot use \"64\": invalid type: string \"64\", expected usize",
    );
    refuses(
        json!({"num_hidden_layers": -2}),
        "key `num_hidden_layers`: cannot use -2: invalid value: integer `-2`, expected usize",
    );
    refuses(
        json!({"tie_word_embeddings": 1}),
        "key `tie_word_embeddings`: cannot use 1: invalid type: integer `1`, expected a boolean",
    );
}

#[test]
fn numbers_out_of_range_are_refused() {
    refuses(
        json!({"num_hidden_layers": 0}),
        "key `num_hidden_layers`: expected 1 to 16384, found 0",
    );
    refuses(
        json!({"num_hidden_layers": 16_777_216}),
        "key `num_hidden_layers`: expected 1 to 16384, found 16777216",
    );
    refuses(
        json!({"num_key_value_heads": 3}),
        "key `num_key_value_heads`: expected a divisor of num_attention_heads (4), found 3",
    );
    refuses(
        json!({"num_attention_heads": 0}),
        "key `head_dim`: missing, and hidden_size 64, num_attention_heads 0 do not give it",
    );
    refuses(json!({"head_dim": 15}), "key `head_dim`: expected even, found 15");
    refuses(
        json!({"rms_norm_eps": 0.0}),
        "key `rms_norm_eps`: expected a positive number, found 0",
    );
    refuses(
        json!({"rope_scaling": {"rope_type": "linear", "factor": 0.0}}),
        "rope_scaling: key `factor`: expected a positive number, found 0",
    );
}

#[test]
fn layer_types_must_be_as_many_as_layers_and_full_attention() {
    refuses(
        json!({"layer_types": ["full_attention"]}),
        "key `layer_types`: expected 2 entries (num_hidden_layers), found 1",
    );
    let error = "key `layer_types`: evalkit cannot compute sliding_attention";
    refuses(
        json!({"layer_types": ["full_attention", "sliding_attention"]}),
        &format!("{error}\n{OTHER_MODEL}"),
    );
}

#[test]
fn a_rotary_embedding_that_is_not_known_is_refused() {
    let error = "rope_scaling: key `rope_type`: evalkit computes default, linear, dynamic, llama3, \
                 yarn or longrope only, found su";
    refuses(
        json!({"rope_scaling": {"rope_type": "su", "factor": 4.0}}),
        &format!("{error}\n{OTHER_VALUE}"),
    );
    refuses(
        json!({"rope_scaling": {"rope_type": "linear"}}),
        "rope_scaling: key `factor`: missing",
    );
}

#[test]
fn a_configuration_that_is_not_json_is_refused() {
    let place = Place::new(&Tiny::default(), 100);
    let cases = [
        ("", "EOF while parsing a value at line 1 column 0"),
        ("[]", "invalid type: sequence, expected a map at line 1 column 0"),
        ("{\"model_type\":", "EOF while parsing a value at line 1 column 14"),
        ("\u{0}", "expected value at line 1 column 1"),
    ];
    for (text, cause) in cases {
        std::fs::write(place.path("model/config.json"), text).unwrap();
        let error = format!("model/config.json: not a JSON object: {cause}");
        place.refuses(place.sweep(&[]), 2, &error);
    }
}

#[test]
fn a_folder_without_its_files_is_refused() {
    let place = Place::new(&Tiny::default(), 100);
    std::fs::remove_file(place.path("model/model.safetensors")).unwrap();
    place.refuses(
        place.sweep(&[]),
        2,
        "model: expected model.safetensors, or shards and their index: it has no weights\n\
         hint: a checkpoint folder has config.json and model.safetensors, or shards and their index",
    );
    std::fs::remove_file(place.path("model/config.json")).unwrap();
    place.refuses(
        place.sweep(&[]),
        2,
        "model: expected a folder with config.json, or a GGUF file: it has no config.json\n\
         hint: a checkpoint folder has config.json, tokenizer.json and model.safetensors",
    );
}
