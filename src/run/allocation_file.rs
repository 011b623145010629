//! The file of an allocation: recipes by layer and role, which people read, edit and replay.
//!
//! ```toml
//! version = 1
//! options = "-cal"
//! embed = "fp16"
//!
//! [layer.0]
//! query = { recipe = "palette2-g16-s", bits = 2.13, size_bytes = 1088, predicted_kl_nats = 0.0012 }
//! …
//! ```
//!
//! A layer without such a tensor has `gate = { recipe = "none" }`. In latent attention, `query` stands for
//! all projections to queries, `key` for the projection of hidden states to keys and values, and `value` for
//! the other one; `query` and `output` stand for the projections of a short convolution. A role of a mixture
//! stands for all experts, the shared one included.
//!
//! Only `recipe`, `options`, `embed` and `head` are read back. The other keys describe the result and
//! are computed again.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use serde::Deserialize;

use crate::error::{At, Error, Result};
use crate::eval::Variant;
use crate::eval::mixed::Blocks;
use crate::eval::mixed::{ROLE_NAMES, filled};
use crate::files::read_regular_text;
use crate::quantize::{REFERENCE_IS_STORED, Recipe};

/// The first character of a name that stands for a file.
const FILE: char = '@';
/// The recipe of what a layer does not have.
const NONE: &str = "none";
/// The version of the layout.
const VERSION: u32 = 1;
/// Largest file that is read, in bytes.
const MAX_BYTES: u64 = 16 << 20;

/// The choice for one tensor; in a mixture of experts, for one role of all experts.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// How it is coded.
    pub recipe: Recipe,
    /// Stored bits per weight.
    pub bits: f64,
    /// Stored bytes.
    pub size_bytes: u64,
    /// Predicted KL divergence that it causes, in nats per token.
    pub predicted_kl_nats: f64,
}

/// The file's text. `head` has its top-level keys, `variant` its options, embedding and head, and
/// `lines` its tensors by layer and role, `None` for what a layer does not have.
pub fn text(head: &[(&str, String)], variant: &Variant, lines: &[Vec<Option<Line>>]) -> String {
    let mut text = String::from(
        "# Bits by tensor. Edit any `recipe` and replay the file with --recipes @FILE. Sizes and\n\
         # predictions in this file do not follow your edits.\n",
    );
    // Writing to a string cannot fail.
    let _ = writeln!(text, "version = {VERSION}");
    for (key, value) in head {
        let _ = writeln!(text, "{key} = {value}");
    }
    let (options, head) = (variant.mlp.options(), variant.head);
    let embed = variant.embedding;
    let _ = writeln!(text, "options = {options:?}\nembed = \"{embed}\"\nhead = \"{head}\"");
    for (layer, lines) in lines.iter().enumerate() {
        let _ = writeln!(text, "\n[layer.{layer}]");
        for (name, line) in ROLE_NAMES.iter().zip(lines) {
            let Some(Line { recipe, bits, size_bytes, predicted_kl_nats }) = line else {
                let _ = writeln!(text, "{name} = {{ recipe = \"{NONE}\" }}");
                continue;
            };
            let _ = writeln!(
                text,
                "{name} = {{ recipe = \"{recipe}\", bits = {bits:.3}, size_bytes = {size_bytes}, \
                 predicted_kl_nats = {predicted_kl_nats:.3e} }}"
            );
        }
    }
    text
}

/// Parses a variant from its name, or reads it from an allocation file if `name` is `@PATH`.
///
/// # Errors
/// Input errors of the name, or of the file with the place in it.
pub fn variant(name: &str) -> Result<Variant> {
    let Some(path) = name.strip_prefix(FILE).map(Path::new) else { return name.parse() };
    let place = || path.display().to_string();
    read(&read_regular_text("read the allocation", path, MAX_BYTES)?).at(place)
}

/// The keys that are read from the file; all others are ignored.
#[derive(Debug, Deserialize)]
struct File {
    version: u32,
    #[serde(default)]
    options: String,
    embed: Option<String>,
    head: Option<String>,
    layer: BTreeMap<String, BTreeMap<String, Tensor>>,
}

#[derive(Debug, Deserialize)]
struct Tensor {
    recipe: String,
}

fn read(text: &str) -> Result<Variant> {
    let file: File =
        toml::from_str(text).map_err(|e| Error::input("not an allocation file").because(e))?;
    if file.version != VERSION {
        let found = file.version;
        return Err(Error::input(format!("expected version {VERSION}, found {found}")));
    }
    let mut layers = BTreeMap::new();
    for (name, tensors) in &file.layer {
        let place = || format!("layer.{name}");
        let layer: usize =
            name.parse().map_err(|_| Error::input("expected a layer number").at(place()))?;
        layers.insert(layer, recipes(tensors).at(place)?);
    }
    let missing = (0..layers.len()).find(|layer| !layers.contains_key(layer));
    if let Some(layer) = missing {
        return Err(Error::input("the layer is missing from the file").at(format!("layer.{layer}")));
    }
    let layers: Vec<_> = layers.into_values().collect();
    let blocks = format!("{}{}", Blocks::new(&layers)?, file.options);
    let mut variant: Variant = blocks.parse().at(|| "options")?;
    for (part, recipe) in [("embed", &file.embed), ("head", &file.head)] {
        if let Some(recipe) = recipe {
            variant.set_part(part, recipe).at(|| part)?;
        }
    }
    Ok(variant)
}

/// The recipes of a layer in the order of the roles.
fn recipes(tensors: &BTreeMap<String, Tensor>) -> Result<[Recipe; ROLE_NAMES.len()]> {
    if let Some(unknown) = tensors.keys().find(|name| !ROLE_NAMES.contains(&name.as_str())) {
        let known = ROLE_NAMES.join(", ");
        return Err(Error::input(format!("unknown tensor, expected one of {known}")).at(unknown));
    }
    let mut recipes = [None; ROLE_NAMES.len()];
    for (recipe, name) in recipes.iter_mut().zip(ROLE_NAMES) {
        let tensor = tensors.get(name);
        let tensor =
            tensor.ok_or_else(|| Error::input("the tensor is missing from the layer").at(name))?;
        if tensor.recipe == NONE {
            continue;
        }
        let found: Recipe = tensor.recipe.parse().at(|| name)?;
        if found.is_reference() {
            return Err(Error::input(REFERENCE_IS_STORED).at(name).hint("use `fp16`"));
        }
        *recipe = Some(found);
    }
    filled(recipes).ok_or_else(|| Error::input("expected a recipe in the layer, found none"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(variant: &str) -> String {
        let variant: Variant = variant.parse().unwrap();
        let recipes = variant.mixed.as_ref().unwrap();
        let line = |layer: usize, role| {
            Some(Line {
                recipe: recipes.recipe(layer, role),
                bits: 2.125,
                size_bytes: 77,
                predicted_kl_nats: 1.5e-4,
            })
        };
        let layer = |layer| crate::eval::mixed::ROLES.map(|role| line(layer, role)).to_vec();
        let lines: Vec<Vec<Option<Line>>> = (0..recipes.layers()).map(layer).collect();
        text(&[("budget_bytes", "12".into())], &variant, &lines)
    }

    #[test]
    fn a_file_reads_back_as_the_variant_it_was_written_for_and_as_edited() {
        let name = "mixed_palette2-g16-s_palette4-g16-s_9a5b-cal+embed:int8";
        let written = file(name);
        assert_eq!(read(&written).unwrap().to_string(), name);
        let edited = written.replacen("palette2-g16-s", "int8", 1);
        let name = "mixed_int8_palette2-g16-s_palette4-g16-s_a8b5c-cal+embed:int8";
        assert_eq!(read(&edited).unwrap().to_string(), name);
    }

    #[test]
    fn what_a_layer_does_not_have_takes_the_next_recipe() {
        let name = "mixed_palette2-g16-s_palette4-g16-s_9a5b";
        let written = file(name);
        // The last gate has the recipe of up; the first value that of output.
        let absent = |text: &str, name: &str, recipe: &str| {
            let line = format!("{name} = {{ recipe = \"{recipe}\"");
            text.replacen(&line, &format!("{name} = {{ recipe = \"none\""), 1)
        };
        let gate = absent(&written, "gate", "palette4-g16-s");
        let value = absent(&gate, "value", "palette2-g16-s");
        assert_ne!(written, gate);
        assert_ne!(gate, value);
        assert_eq!(read(&value).unwrap().to_string(), name);
    }

    #[test]
    fn what_is_unknown_or_missing_is_refused_with_its_place() {
        let written = file("mixed_palette2-g16-s_palette4-g16-s_9a5b");
        let refusal = |text: String| read(&text).unwrap_err().to_string();
        let unknown = refusal(written.replacen("query", "queries", 1));
        assert!(unknown.contains("layer.0: queries: unknown tensor"), "{unknown}");
        let lines = written.lines().filter(|line| !line.starts_with("up"));
        let missing = refusal(lines.collect::<Vec<_>>().join("\n"));
        assert!(missing.contains("layer.0: up: the tensor is missing from the layer"), "{missing}");
        let layer = refusal(written.replace("layer.0", "layer.7"));
        assert!(layer.contains("layer.0: the layer is missing from the file"), "{layer}");
        let recipe = refusal(written.replacen("palette2-g16-s", "palette5", 1));
        assert!(recipe.contains("layer.0: query: ") && recipe.contains("palette5"), "{recipe}");
        assert!(refusal(written.replacen("palette2-g16-s", "fp", 1)).contains("use `fp16`"));
        assert!(refusal(written.replace("version = 1", "version = 2")).contains("version 1"));
        assert!(refusal(written.replace("options = \"\"", "options = \"-x\"")).contains("options"));
        assert!(refusal("recipes = 3".into()).contains("not an allocation file"));
    }
}
