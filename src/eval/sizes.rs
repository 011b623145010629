//! The bytes that a variant stores, and the bytes that computing a token reads.

use super::variant::{MLP, PARTS, PartKind, Variant};
use crate::checkpoint::{Checkpoint, Role, TensorId};
use crate::error::{At, Result};
use crate::model::Input;
use crate::quantize::{LayerRecipe, Recipe, kept_weights};
use crate::results::{MIXED, StoredPart};

/// The fp16 scale of an input that is rounded to int8.
const INPUT_SCALE_BYTES: u64 = 2;

impl Variant {
    /// The stored size of each part, exact to the byte. Weights are read only for recipes with a pruning
    /// threshold, because their sizes depend on the weights.
    ///
    /// # Errors
    /// Bug-class errors for tensors that the checkpoint does not have, input errors of its weights.
    pub fn parts(&self, checkpoint: &Checkpoint) -> Result<Vec<StoredPart>> {
        self.sum_parts(checkpoint, |_, all| all)
    }

    /// The bytes of each part that computing one token reads: all weights of the layers, but only as many
    /// experts as a token is routed to, and one row of the embedding.
    ///
    /// # Errors
    /// As [`Variant::parts`].
    pub fn parts_per_token(&self, checkpoint: &Checkpoint) -> Result<Vec<StoredPart>> {
        let config = &checkpoint.config;
        let chosen = config.experts.as_ref().map(|experts| experts.per_token);
        let is_head_too = config.tied && !self.stores_tied_head(checkpoint);
        self.sum_parts(checkpoint, |id, all| match id.role {
            // All experts have the same size, so the first ones stand for the chosen ones.
            _ if id.expert.is_some() && id.expert >= chosen => 0,
            Role::Embedding if !is_head_too => all.div_ceil(config.vocab_size as u64),
            _ => all,
        })
    }

    /// Sums weights and bytes by part; `counted` says how many of a tensor's count.
    fn sum_parts(
        &self,
        checkpoint: &Checkpoint,
        counted: impl Fn(TensorId, u64) -> u64,
    ) -> Result<Vec<StoredPart>> {
        self.check(&checkpoint.config)?;
        let part = |name: &str, recipe: LayerRecipe| StoredPart {
            part: name.into(),
            recipe: match PARTS[..2].contains(&name) || name == MLP {
                true if self.mixed.is_some() => self.blocks(|_| MIXED.to_owned()),
                _ => recipe.to_string(),
            },
            ..StoredPart::default()
        };
        let mlp = if checkpoint.config.experts.is_some() { PARTS[1] } else { MLP };
        let mut parts = [
            part(PARTS[0], self.attention),
            part(mlp, self.mlp),
            part("embedding", self.embedding.into()),
            part("head", self.head),
            part("norms and biases", self.rest().into()),
        ];
        for (id, stored) in checkpoint.tensors() {
            let part = &mut parts[PartKind::of(id) as usize];
            part.weights += counted(id, stored.weights());
            let recipe = self.recipe_of(id, stored);
            part.size_bytes += counted(id, size_bytes(checkpoint, id, recipe)?);
        }
        if self.stores_tied_head(checkpoint) {
            let size_bytes = size_bytes(checkpoint, checkpoint.head(), self.head.weights)?;
            parts[PartKind::Head as usize].size_bytes = size_bytes;
        }
        for (_, input) in self.int8_inputs(&checkpoint.config)? {
            let kind = match input {
                Input::Head => PartKind::Head,
                input if input.is_of_mixer() => PartKind::Attention,
                _ => PartKind::Mlp,
            };
            parts[kind as usize].size_bytes += INPUT_SCALE_BYTES;
        }
        Ok(parts.into_iter().filter(|part| part.size_bytes > 0).collect())
    }
}

/// The stored size of a tensor under a recipe.
pub fn size_bytes(checkpoint: &Checkpoint, id: TensorId, recipe: Recipe) -> Result<u64> {
    let stored = checkpoint.stored(id)?;
    let shape = stored.matrix();
    recipe.check_shape(shape).at(|| id.name())?;
    let kept = match recipe.kept(shape[0] * shape[1]) {
        Some(kept) => kept,
        None => kept_weights(&recipe, &checkpoint.read(id)?)?.map_or(0, |mask| mask.kept()),
    };
    Ok(recipe.stored_size_of(shape, kept).map_or(stored.size_bytes(), |size| size.0))
}
