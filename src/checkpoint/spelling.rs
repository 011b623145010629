//! How a checkpoint's file spells the names of its tensors. Spellings that mean the same are accepted;
//! those of other layouts are refused by name.

use std::collections::BTreeMap;
use std::fmt;

use super::config::Config;
use super::layout::FileLayout;
use super::names::TensorId;
use super::quantized;
use super::roles::Role;
use super::stored::StoredTensor;
use super::{families, head_norms};
use crate::error::{Error, Result};
use crate::units::Bytes;

/// Prefixes of a language model inside a wrapper, and what they are without it.
const WRAPPED: [(&str, &str); 4] = [
    ("model.language_model.model.", "model."),
    ("model.language_model.", "model."),
    ("language_model.model.", "model."),
    ("language_model.lm_head.", "lm_head."),
];
/// Prefixes of what a wrapper has beside its language model.
const TOWERS: [&str; 16] = [
    "vision_tower.",
    "vision_model.",
    "vision_encoder.",
    "visual.",
    "multi_modal_projector.",
    "mm_projector.",
    "audio_tower.",
    "embed_vision.",
    "embed_audio.",
    "connector.",
    "image_newline",
    "patch_merger.",
    "vision_language_adapter.",
    "pre_mm_projector_norm.",
    "vision_projection.",
    "mlp1.",
];

/// Marks of layouts that are not read, what they are, and what to do.
const LAYOUTS: [(&str, &str, &str); 7] = [
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
];
const MERGE: &str =
    "merge the adapter (merge_and_unload of peft, then save_pretrained), and give that folder";
const OTHER: &str = "evalkit does not compute this architecture, whatever config.json says";

/// What a checkpoint has beside its language model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PassedOver {
    /// The prefixes of the tensors' names, such as `vision_tower`.
    pub parts: Vec<String>,
    /// The number of tensors.
    pub tensors: usize,
    /// Their bytes in the files.
    pub size_bytes: u64,
}

impl PassedOver {
    /// What is passed over of these tensors, of which each has a name and a size; `None` if nothing is.
    pub fn of<'a>(tensors: impl Iterator<Item = (&'a str, u64)> + Clone) -> Option<Self> {
        tensors.clone().find(|(name, _)| inner(name).is_some())?;
        let mut found = PassedOver::default();
        for (name, size_bytes) in tensors {
            let Some(part) = tower(name) else { continue };
            if !found.parts.iter().any(|known| known == part) {
                found.parts.push(part.to_owned());
            }
            found.tensors += 1;
            found.size_bytes += size_bytes;
        }
        (found.tensors > 0).then_some(found)
    }
}

impl fmt::Display for PassedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PassedOver { parts, tensors, size_bytes } = self;
        let (parts, size) = (parts.join(", "), Bytes(*size_bytes));
        write!(
            f,
            "only the language model is used; {tensors} other tensors ({size}) are skipped: {parts}"
        )
    }
}

/// Makes the names in `found` those of the family's own files where they only lack a prefix, have that of
/// a wrapper, or name a tied matrix by its other name. What a wrapper has beside the language model is
/// taken out.
///
/// # Errors
/// Input errors: the names of another layout.
pub fn settle(
    found: &mut BTreeMap<String, StoredTensor>,
    config: &Config,
    layout: &FileLayout<'_>,
) -> Result<Option<PassedOver>> {
    refuse_layouts(found.keys().map(String::as_str), config)?;
    let passed_over = unwrap(found);
    let name_of = |role| layout.sources(TensorId::model(role))[0].name.clone();
    let (embedding, head) = (name_of(Role::Embedding), name_of(Role::Head));
    let prefix = layout.prefix();
    let bare = embedding.strip_prefix(prefix).unwrap_or(&embedding).to_owned();
    if found.contains_key(&bare) && !found.keys().any(|name| name.starts_with(prefix)) {
        let prefixed = |name: String| if name == head { name } else { format!("{prefix}{name}") };
        *found = std::mem::take(found).into_iter().map(|(k, v)| (prefixed(k), v)).collect();
    }
    if found.contains_key(&embedding) {
        return Ok(passed_over);
    }
    if config.tied
        && let Some(head) = found.remove(&head)
    {
        // One matrix, stored under the name of its other use.
        found.insert(embedding, head);
        return Ok(passed_over);
    }
    match found.keys().find(|name| name.ends_with(&bare)) {
        Some(other) => Err(Error::input(format!("expected this name, found {other}"))
            .at(format!("tensor {embedding}"))
            .hint("rename the tensors as transformers' save_pretrained spells them; of a model that was wrapped (compiled, distributed, with images) store the language model by itself")),
        None => Ok(passed_over),
    }
}

/// The name that a tensor inside a wrapper has outside of it.
fn inner(name: &str) -> Option<String> {
    WRAPPED.iter().find_map(|(prefix, without)| {
        name.strip_prefix(prefix).map(|rest| format!("{without}{rest}"))
    })
}

/// The part of a wrapper that a tensor belongs to; `None` if it is the language model.
fn tower(name: &str) -> Option<&'static str> {
    if inner(name).is_some() {
        return None;
    }
    let outer = name.strip_prefix("model.").unwrap_or(name);
    let tower = TOWERS.iter().find(|tower| outer.starts_with(**tower));
    tower.map(|tower| tower.trim_end_matches('.'))
}

/// Takes a language model out of its wrapper.
fn unwrap(found: &mut BTreeMap<String, StoredTensor>) -> Option<PassedOver> {
    found.keys().find(|name| inner(name).is_some())?;
    let tensors = found.iter().map(|(name, stored)| (name.as_str(), stored.size_bytes()));
    let passed_over = PassedOver::of(tensors);
    found.retain(|name, _| tower(name).is_none());
    let unwrapped = |(name, stored): (String, _)| (inner(&name).unwrap_or(name), stored);
    *found = std::mem::take(found).into_iter().map(unwrapped).collect();
    passed_over
}

/// Whether an index spells the tensor `name` in one of the ways that [`settle`] accepts.
pub fn is_named(
    name: &str,
    id: TensorId,
    config: &Config,
    contains: impl Fn(&str) -> bool,
) -> bool {
    let is_embedding = id == TensorId::model(Role::Embedding);
    let is_head_norm = matches!(id.role, Role::QueryNorm | Role::KeyNorm);
    let head = TensorId::model(Role::Head).name();
    let wrapped = WRAPPED.iter().any(|(prefix, without)| {
        name.strip_prefix(without).is_some_and(|rest| contains(&format!("{prefix}{rest}")))
    });
    contains(name)
        || wrapped
        || is_head_norm && contains(&head_norms::of_head(name, 0))
        || name.split_once('.').is_some_and(|(_, bare)| contains(bare))
        || is_embedding && config.tied && contains(&head)
}

fn refuse_layouts<'a>(names: impl Iterator<Item = &'a str> + Clone, config: &Config) -> Result<()> {
    for name in names.clone() {
        if let Some(hint) = quantized::hint_of_tensor(name) {
            return Err(Error::input("it belongs to a layer that another tool has quantized")
                .at(format!("tensor {name}"))
                .hint(hint));
        }
    }
    let own = families::named(config.family).map(|family| family.layer_prefix());
    for (mark, what, hint) in LAYOUTS.into_iter().filter(|(mark, ..)| own.as_deref() != Some(mark))
    {
        if let Some(name) = names.clone().find(|name| name.contains(mark)) {
            return Err(Error::input(format!("its name is that of {what}"))
                .at(format!("tensor {name}"))
                .hint(hint));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::config_json;
    use super::super::dtype::Dtype;
    use super::super::missing::missing;
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
            minus_one: false,
        };
        names.iter().map(|name| (name.to_string(), stored(name))).collect()
    }

    fn settled(names: &[&str], tied: bool) -> Result<Vec<String>> {
        let mut found = found(names);
        let config = config(tied);
        settle(&mut found, &config, &FileLayout::new(&config).unwrap())?;
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
        assert!(is_named(
            "model.norm.weight",
            TensorId::model(Role::FinalNorm),
            &config(true),
            |name| name == "norm.weight"
        ));
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
    fn the_norm_of_one_head_names_that_of_all() {
        let name = "model.layers.0.self_attn.q_layernorm.weight";
        let by_head = |found: &str| found == "model.layers.0.self_attn.q_layernorm.norms.0.weight";
        let is_named = |role| is_named(name, TensorId::block(0, role), &config(true), by_head);
        assert!(is_named(Role::QueryNorm));
        assert!(!is_named(Role::MlpNorm));
    }

    #[test]
    fn a_missing_head_points_to_the_configuration() {
        let error = missing(TensorId::model(Role::Head), "lm_head.weight").to_string();
        assert!(error.contains("tie_word_embeddings"), "{error}");
    }
}
