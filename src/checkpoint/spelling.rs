//! How a checkpoint's file spells the names of its tensors. Spellings that mean the same are accepted;
//! those of other layouts are refused by name.

use std::collections::BTreeMap;

use super::config::Config;
use super::names::{Role, TensorId};
use super::quantized;
use super::stored::{StoredTensor, absent};
use crate::error::{Error, Result};

/// The prefix of the decoder's tensors, which a checkpoint of the decoder alone lacks.
const PREFIX: &str = "model.";
/// The end of the embedding's name, whatever its prefix is.
const EMBEDDING: &str = "embed_tokens.weight";

/// Marks of layouts that are not read, what they are, and what to do.
const LAYOUTS: [(&str, &str, &str); 8] = [
    (".lora_A.", "an adapter (LoRA) that is not merged", MERGE),
    (".lora_magnitude_vector", "an adapter (DoRA) that is not merged", MERGE),
    (".base_layer.", "a model that an adapter of PEFT is still attached to", MERGE),
    ("base_model.model.", "a model with the names of PEFT", MERGE),
    (
        "tok_embeddings.weight",
        "Meta's or Mistral's own layout",
        "convert it with the script of its family in transformers, or take the repository's Hugging Face version",
    ),
    ("transformer.h.", "the layout of GPT-2 and its kin", OTHER),
    ("blk.0.", "the names of a GGUF file", "give the GGUF file itself"),
    ("visual.", "a model for images and text", OTHER),
];
const MERGE: &str =
    "merge the adapter (merge_and_unload of peft, then save_pretrained), and give that folder";
const OTHER: &str = "evalkit does not compute this architecture, whatever config.json says";

/// Makes the names in `found` those of [`TensorId::name`] where they only lack a prefix or name a tied
/// matrix by its other name.
///
/// # Errors
/// Input errors: the names of another layout.
pub fn settle(found: &mut BTreeMap<String, StoredTensor>, config: &Config) -> Result<()> {
    refuse_layouts(found.keys().map(String::as_str))?;
    let embedding = TensorId::model(Role::Embedding).name();
    if found.contains_key(EMBEDDING) && !found.keys().any(|name| name.starts_with(PREFIX)) {
        let head = TensorId::model(Role::Head).name();
        let prefixed = |name: String| if name == head { name } else { format!("{PREFIX}{name}") };
        *found = std::mem::take(found).into_iter().map(|(k, v)| (prefixed(k), v)).collect();
    }
    if found.contains_key(&embedding) {
        return Ok(());
    }
    if config.tied
        && let Some(head) = found.remove(&TensorId::model(Role::Head).name())
    {
        // One matrix, stored under the name of its other use.
        found.insert(embedding, head);
        return Ok(());
    }
    match found.keys().find(|name| name.ends_with(EMBEDDING)) {
        Some(other) => Err(Error::input(format!("expected this name, found {other}"))
            .at(format!("tensor {embedding}"))
            .hint("rename the tensors as transformers' save_pretrained spells them; of a model that was wrapped (compiled, distributed, with images) store the language model by itself")),
        None => Ok(()),
    }
}

/// Whether an index spells the tensor `name` in one of the ways that [`settle`] accepts.
pub fn is_named(name: &str, config: &Config, contains: impl Fn(&str) -> bool) -> bool {
    let is_embedding = name == TensorId::model(Role::Embedding).name();
    contains(name)
        || name.strip_prefix(PREFIX).is_some_and(&contains)
        || is_embedding && config.tied && contains(&TensorId::model(Role::Head).name())
}

fn refuse_layouts<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Result<()> {
    for name in names.clone() {
        if let Some(hint) = quantized::hint_of_tensor(name) {
            return Err(Error::input("it belongs to a layer that another tool has quantized")
                .at(format!("tensor {name}"))
                .hint(hint));
        }
    }
    for (mark, what, hint) in LAYOUTS {
        if let Some(name) = names.clone().find(|name| name.contains(mark)) {
            return Err(Error::input(format!("its name is that of {what}"))
                .at(format!("tensor {name}"))
                .hint(hint));
        }
    }
    Ok(())
}

/// The error for a tensor of the architecture that the checkpoint lacks.
pub fn missing(id: TensorId) -> Error {
    let name = id.name();
    if id != TensorId::model(Role::Head) {
        return absent(&name);
    }
    Error::input("expected by the architecture, not found in the checkpoint")
        .at(format!("tensor {name}"))
        .hint("if the head shares the embedding's weights, config.json must say \"tie_word_embeddings\": true, and it does not; otherwise a shard is missing")
}

#[cfg(test)]
mod tests {
    use super::super::config_json;
    use super::super::dtype::Dtype;
    use super::super::stored::RowOrder;
    use super::*;

    fn config(tied: bool) -> Config {
        let text = format!(
            r#"{{"model_type": "llama", "hidden_size": 8, "intermediate_size": 8,
            "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 4,
            "max_position_embeddings": 8, "rms_norm_eps": 1e-5, "tie_word_embeddings": {tied}}}"#
        );
        config_json::parse(text.as_bytes()).unwrap()
    }

    fn found(names: &[&str]) -> BTreeMap<String, StoredTensor> {
        let stored = |name: &str| StoredTensor {
            name: name.into(),
            file: 0,
            range: 0..0,
            shape: vec![],
            dtype: Dtype::F32,
            rows: RowOrder::Plain,
            scales: None,
        };
        names.iter().map(|name| (name.to_string(), stored(name))).collect()
    }

    fn settled(names: &[&str], tied: bool) -> Result<Vec<String>> {
        let mut found = found(names);
        settle(&mut found, &config(tied))?;
        Ok(found.into_keys().collect())
    }

    #[test]
    fn a_missing_prefix_is_added() {
        let names = ["embed_tokens.weight", "layers.0.mlp.up_proj.weight", "lm_head.weight"];
        let expected =
            ["lm_head.weight", "model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight"];
        assert_eq!(settled(&names, false).unwrap(), expected);
        // With names of both kinds nothing is guessed.
        let mixed = ["embed_tokens.weight", "model.norm.weight"];
        let error = settled(&mixed, false).unwrap_err().to_string();
        assert!(error.contains("expected this name, found embed_tokens.weight"), "{error}");
        assert!(is_named("model.norm.weight", &config(true), |name| name == "norm.weight"));
    }

    #[test]
    fn a_tied_matrix_may_have_the_head_s_name() {
        assert_eq!(settled(&["lm_head.weight"], true).unwrap(), ["model.embed_tokens.weight"]);
        assert_eq!(settled(&["lm_head.weight"], false).unwrap(), ["lm_head.weight"]);
    }

    #[test]
    fn other_layouts_are_refused_by_name() {
        for (name, expected) in [
            ("base_model.model.model.embed_tokens.weight", "the names of PEFT"),
            ("model.layers.0.self_attn.q_proj.base_layer.weight", "merge_and_unload"),
            ("tok_embeddings.weight", "Meta's or Mistral's own layout"),
            ("model.layers.0.mlp.up_proj.qweight", "GPTQ or AWQ"),
            ("module.model.embed_tokens.weight", "found module.model.embed_tokens.weight"),
        ] {
            let error = settled(&[name], true).unwrap_err().to_string();
            assert!(error.contains(expected), "{name}: {error}");
        }
    }

    #[test]
    fn a_missing_head_points_to_the_configuration() {
        let error = missing(TensorId::model(Role::Head)).to_string();
        assert!(error.contains("tie_word_embeddings"), "{error}");
    }
}
