//! A variant: the recipes of the parts of a checkpoint.

use std::fmt;
use std::str::FromStr;

use super::mixed::{Blocks, Mixed};
use crate::checkpoint::config::Config;
use crate::checkpoint::{Checkpoint, Role, StoredTensor, TensorId};
use crate::error::{At, Error, Result};
use crate::model::Input;
use crate::quantize::{LayerRecipe, Method, Recipe, Steps};
use crate::results::{self, StoredPart};

/// Linear layers of a block with fewer weights than this stay at fp16, because coding them would save
/// almost nothing. (coremltools' `weight_threshold` has the same default.)
pub const MIN_CODED_WEIGHTS: u64 = 2048;

/// The recipe of each part of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    /// The projections of attention.
    pub attention: LayerRecipe,
    /// The MLP, or the experts of a mixture.
    pub mlp: LayerRecipe,
    /// The embedding. Its rows are looked up, so it has no input to quantize.
    pub embedding: Recipe,
    /// The head. If it is tied to the embedding and has the same recipe of weights, both are stored once.
    pub head: LayerRecipe,
    /// Recipes per linear layer of the blocks, if they differ. `attention` and `mlp` are then equal and
    /// give method and inputs only; their recipe of weights is not used.
    pub mixed: Option<Mixed>,
}

/// The names of parts in a mix, in the order in which they are written.
pub const PARTS: [&str; 4] = ["attention", "experts", "embed", "head"];

/// Another name of the part `experts`.
pub const MLP: &str = "mlp";

/// The parts that sizes are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartKind {
    Attention,
    Mlp,
    Embedding,
    Head,
    Rest,
}

impl fmt::Display for Variant {
    /// A mix: the recipe of MLP or experts, then each part that differs from its default. The default of
    /// attention is that same recipe; the default of embedding and head is fp16.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default =
            if self.mlp.is_reference() { self.mlp } else { LayerRecipe::from(Recipe::Half) };
        let mut text = self.blocks(Mixed::to_string);
        for (part, recipe, default) in [
            (PARTS[0], self.attention, self.mlp),
            (PARTS[2], self.embedding.into(), default),
            (PARTS[3], self.head, default),
        ] {
            if recipe != default {
                text.push_str(&format!("+{part}:{recipe}"));
            }
        }
        f.pad(&text)
    }
}

impl FromStr for Variant {
    type Err = Error;

    /// Parses a mix such as `palette2-g16`, `palette2-g16+attention:palette4-g16+embed:int8`.
    fn from_str(text: &str) -> Result<Self> {
        let mut words = text.split('+');
        let (base, mixed) = Blocks::parse(words.next().unwrap_or_default())?;
        let mut variant =
            Variant { attention: base, mlp: base, mixed, ..Self::uniform(Recipe::Half) };
        if base.is_reference() {
            variant = Self::reference();
        }
        for word in words {
            let (part, recipe) = word.split_once(':').ok_or_else(|| {
                Error::input(format!("expected part:recipe, found {word:?}"))
                    .at(text)
                    .hint("for example palette2-g16+attention:palette4-g16+embed:int8+head:int8")
            })?;
            variant.set_part(part, recipe).at(|| text.to_owned())?;
        }
        Ok(variant)
    }
}

impl Variant {
    /// Sets the recipe of a part by its name in mixes.
    ///
    /// # Errors
    /// Input errors: an unknown part, an invalid recipe, `-a8` or `-cal` on an embedding, a part of blocks
    /// that have recipes per tensor.
    pub fn set_part(&mut self, part: &str, recipe: &str) -> Result<()> {
        let slot = match part {
            "attention" | "experts" | MLP if self.mixed.is_some() => {
                let what = "the blocks have a recipe per tensor already";
                return Err(Error::input(what)
                    .at(part)
                    .hint("edit the allocation's file and replay it with --recipes @FILE"));
            }
            "attention" => &mut self.attention,
            "experts" | MLP => &mut self.mlp,
            "head" => &mut self.head,
            "embed" => {
                let LayerRecipe { weights, method, int8_inputs } = recipe.parse()?;
                if int8_inputs {
                    let what = "an embedding is looked up, so it has no input to round to int8";
                    return Err(Error::input(what).hint(format!("use `{weights}`")));
                }
                if method.steps().is_some() {
                    let what = "an embedding is looked up, so it has no input to calibrate on";
                    return Err(Error::input(what).hint(format!("use `{weights}`")));
                }
                self.embedding = weights;
                return Ok(());
            }
            _ => {
                let known = PARTS.join(", ");
                return Err(Error::input(format!("expected one of {known}, found {part:?}")));
            }
        };
        *slot = recipe.parse()?;
        Ok(())
    }

    /// The reference: every tensor as the checkpoint stores it.
    pub fn reference() -> Self {
        let fp = LayerRecipe::from(Recipe::Reference);
        Variant { attention: fp, mlp: fp, embedding: fp.weights, head: fp, mixed: None }
    }

    /// The variant with one recipe for all blocks, and fp16 for embedding and head.
    pub fn uniform(blocks: Recipe) -> Self {
        let (blocks, half) = (LayerRecipe::from(blocks), LayerRecipe::from(Recipe::Half));
        Variant { attention: blocks, mlp: blocks, embedding: half.weights, head: half, mixed: None }
    }

    /// A short label for tables; it replaces names that list a recipe per tensor. `parts` are this
    /// variant's.
    pub fn label(&self, parts: &[StoredPart]) -> String {
        results::label(&self.to_string(), parts)
    }

    /// The distinct recipes of weights.
    pub fn recipes(&self) -> Vec<Recipe> {
        let of_parts = [self.attention.weights, self.mlp.weights];
        let blocks = self.mixed.as_ref().map_or(&of_parts[..], Mixed::recipes);
        let mut recipes = Vec::new();
        for recipe in blocks.iter().copied().chain([self.embedding, self.head.weights]) {
            if !recipes.contains(&recipe) {
                recipes.push(recipe);
            }
        }
        recipes
    }

    /// Refuses (input) recipes per tensor for another number of layers than the model has, and tuning of
    /// blocks that cannot be differentiated.
    pub fn check(&self, config: &Config) -> Result<()> {
        match &self.mixed {
            Some(mixed) if mixed.layers() != config.layers => Err(Error::input(format!(
                "recipes per tensor for {} layers, but the model has {}",
                mixed.layers(),
                config.layers
            ))
            .at(self.label(&[]))
            .hint("allocate bits for this model with --target-bits")),
            _ if self.is_tuned() => match config.untunable() {
                Some(why) => {
                    Err(Error::input(format!("`-ft` and `-blocks` are not available for {why}"))
                        .at(format!("recipe `{self}`"))
                        .hint("use `-cal` alone"))
                }
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// The name of the blocks' recipes; `named` names recipes per tensor.
    pub fn blocks(&self, named: impl FnOnce(&Mixed) -> String) -> String {
        match &self.mixed {
            Some(mixed) => named(mixed) + &self.mlp.options(),
            None => self.mlp.to_string(),
        }
    }

    /// The inputs that are rounded to int8, in the order of the computation. The layer is `None` for the
    /// head's input.
    ///
    /// # Errors
    /// An input error for `-a8` on experts, which cannot be calibrated: an expert that receives no
    /// calibration token has no range.
    pub fn int8_inputs(&self, config: &Config) -> Result<Vec<(Option<usize>, Input)>> {
        if self.mlp.int8_inputs && config.experts.is_some() {
            let attention = self.attention.weights;
            return Err(Error::input("`-a8` is not available for experts")
                .at(format!("recipe `{}`", self.mlp))
                .hint(format!(
                    "quantize the inputs of attention alone: {}+attention:{attention}-a8",
                    self.mlp.weights
                )));
        }
        let of_layer = |layer: usize| {
            let inputs = Input::of_layer(config, layer).into_iter();
            inputs.map(move |input| (Some(layer), input))
        };
        let all = (0..config.layers).flat_map(of_layer).chain([(None, Input::Head)]);
        Ok(all.filter(|(_, input)| self.has_int8(*input)).collect())
    }

    /// Whether an input is rounded to int8.
    pub fn has_int8(&self, input: Input) -> bool {
        match input {
            Input::Head => self.head.int8_inputs,
            input if input.is_of_mixer() => self.attention.int8_inputs,
            _ => self.mlp.int8_inputs,
        }
    }

    /// Whether any input is rounded to int8, so that ranges are needed.
    pub fn needs_ranges(&self) -> bool {
        [self.attention, self.mlp, self.head].iter().any(|part| part.int8_inputs)
    }

    /// Whether the codes of any part are calibrated.
    pub fn is_calibrated(&self) -> bool {
        [self.attention, self.mlp].iter().any(|part| part.method.steps().is_some())
    }

    /// Whether any part is tuned by gradients.
    pub fn is_tuned(&self) -> bool {
        self.has_step(Steps::is_tuned)
    }

    /// Whether all blocks are tuned together, against the reference's logits.
    pub fn is_tuned_whole(&self) -> bool {
        self.has_step(|steps| steps.tune_whole)
    }

    fn has_step(&self, is_on: impl Fn(Steps) -> bool) -> bool {
        let parts = [self.attention, self.mlp];
        parts.iter().filter_map(|part| part.method.steps()).any(is_on)
    }

    /// The parts whose codes can be calibrated.
    pub fn calibrated_parts(&mut self) -> [&mut LayerRecipe; 2] {
        [&mut self.attention, &mut self.mlp]
    }

    /// The same recipes without a method.
    pub fn uncalibrated(mut self) -> Self {
        self.calibrated_parts().into_iter().for_each(|part| part.method = Method::Unspecified);
        self
    }

    /// Whether the variant needs a calibration text.
    pub fn needs_calibration(&self) -> bool {
        self.needs_ranges() || self.is_calibrated()
    }

    /// The method by which the codes of a tensor are chosen.
    pub fn method_of(&self, id: TensorId) -> Method {
        match PartKind::of(id) {
            PartKind::Attention => self.attention.method,
            PartKind::Mlp => self.mlp.method,
            PartKind::Embedding | PartKind::Head | PartKind::Rest => Method::Unspecified,
        }
    }

    /// The variant for runs with a calibration text: parts of blocks whose recipe satisfies `is_meant` are
    /// calibrated, unless they name a method.
    pub fn calibrated(self, is_meant: impl Fn(&Recipe) -> bool) -> Self {
        let of = |part: LayerRecipe| if is_meant(&part.weights) { part.calibrated() } else { part };
        Variant { attention: of(self.attention), mlp: of(self.mlp), ..self }
    }

    /// Whether this is the reference itself.
    pub fn is_reference(&self) -> bool {
        *self == Self::reference()
    }

    /// The recipe of one tensor. Tensors that a variant does not code, such as norms and biases, ship at
    /// fp16 and are therefore scored at fp16. They keep the checkpoint's precision in the reference, and
    /// if all parts except the experts are `fp`, so that a lossless recipe of experts shows no loss.
    pub fn recipe_of(&self, id: TensorId, stored: &StoredTensor) -> Recipe {
        let of_block = |recipe: Recipe| match recipe {
            recipe if recipe.is_reference() || stored.weights() >= MIN_CODED_WEIGHTS => recipe,
            _ => self.rest(),
        };
        match PartKind::of(id) {
            PartKind::Embedding => self.embedding,
            PartKind::Head => self.head.weights,
            PartKind::Attention => of_block(self.weights_of(id, self.attention)),
            PartKind::Mlp => of_block(self.weights_of(id, self.mlp)),
            PartKind::Rest => self.rest(),
        }
    }

    fn weights_of(&self, id: TensorId, part: LayerRecipe) -> Recipe {
        let mixed = self.mixed.as_ref().zip(id.layer);
        mixed.map_or(part.weights, |(mixed, layer)| mixed.recipe(layer, id.role))
    }

    /// The recipe of norms, biases, router and sinks.
    pub fn rest(&self) -> Recipe {
        let others = [self.attention.weights, self.embedding, self.head.weights];
        if others.iter().all(Recipe::is_reference) { Recipe::Reference } else { Recipe::Half }
    }

    /// Whether the head of a tied model is stored separately, because its recipe differs.
    pub fn stores_tied_head(&self, checkpoint: &Checkpoint) -> bool {
        checkpoint.config.tied && self.head.weights != self.embedding
    }
}

impl PartKind {
    /// The part that a tensor belongs to.
    pub fn of(id: TensorId) -> Self {
        match id.role {
            _ if id.bias => PartKind::Rest,
            Role::Embedding => PartKind::Embedding,
            Role::Head => PartKind::Head,
            role if role.is_of_mlp() => PartKind::Mlp,
            role if role.is_linear() => PartKind::Attention,
            _ => PartKind::Rest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_prints_what_differs_and_parses_back() {
        for text in [
            "fp",
            "palette2-g16",
            "mxfp4+attention:fp+embed:fp+head:fp",
            "palette2-g16+attention:palette4-g16+embed:int8+head:int8",
            "int8-a8",
            "palette4-g16-s-a8+attention:int8+embed:int8+head:int8-a8",
        ] {
            assert_eq!(text.parse::<Variant>().unwrap().to_string(), text);
        }
        let spelled: Variant = "int8+experts:palette1+head:fp16".parse().unwrap();
        assert_eq!(spelled.to_string(), "palette1+attention:int8");
        assert!("fp".parse::<Variant>().unwrap().is_reference());
    }

    #[test]
    fn a_mix_that_cannot_be_read_is_refused_by_its_part() {
        let refused = |text: &str| text.parse::<Variant>().unwrap_err().to_string();
        assert!(refused("palette2+heads:int8").contains("expected one of attention, experts"));
        assert!(refused("palette2+head").contains("expected part:recipe"));
        assert!(refused("palette2+head:palette5").contains("5-bit palettes do not exist"));
        assert!(refused("int8+embed:int8-a8").contains("an embedding is looked up"));
        assert!(refused("int8+embed:int8-cal").contains("an embedding is looked up"));
    }
}
