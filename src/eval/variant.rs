//! A variant: recipes applied to the parts of one checkpoint, and what that costs to store.

use crate::checkpoint::{Checkpoint, Stored, TensorId};
use crate::error::Result;
use crate::quantize::Recipe;
use crate::results::Part;

/// Linear layers of a block with fewer weights than this stay at fp16: their codes would save
/// nothing that shows. (coremltools' `weight_threshold` has the same default.)
pub const MIN_CODED_WEIGHTS: u64 = 2048;

/// Which recipe codes which part of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    /// The linear layers of the decoder blocks.
    pub blocks: Recipe,
    /// The embedding.
    pub embedding: Recipe,
    /// The head; where it is tied to the embedding and the recipes agree, it is stored once.
    pub head: Recipe,
}

/// The four parts that sizes are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PartKind {
    Blocks,
    Embedding,
    Head,
    Rest,
}

impl Variant {
    /// The reference: everything as the checkpoint stores it.
    pub fn reference() -> Self {
        let fp = Recipe::Reference;
        Variant { blocks: fp, embedding: fp, head: fp }
    }

    /// Whether this is the reference itself.
    pub fn is_reference(&self) -> bool {
        *self == Self::reference()
    }

    /// The name in tables: the blocks' recipe, with embedding and head where they differ from the
    /// default of fp16.
    pub fn name(&self) -> String {
        let mut name = self.blocks.to_string();
        if self.is_reference() {
            return name;
        }
        for (part, recipe) in [("embed", self.embedding), ("head", self.head)] {
            if recipe != Recipe::Half {
                name.push_str(&format!("+{part}:{recipe}"));
            }
        }
        name
    }

    /// The recipe of one tensor. What a variant does not code it ships at fp16, norms and biases
    /// included, so it is scored at fp16; only the reference is scored as stored.
    pub fn recipe_of(&self, id: TensorId, stored: &Stored) -> Recipe {
        if self.is_reference() {
            return Recipe::Reference;
        }
        match PartKind::of(id) {
            PartKind::Embedding => self.embedding,
            PartKind::Head => self.head,
            PartKind::Blocks if stored.weights() >= MIN_CODED_WEIGHTS => self.blocks,
            PartKind::Blocks | PartKind::Rest => Recipe::Half,
        }
    }

    /// Whether the head of a tied model is stored a second time, because its recipe is another.
    pub fn stores_tied_head(&self, checkpoint: &Checkpoint) -> bool {
        checkpoint.config.tied && self.head != self.embedding
    }

    /// Storage of each part, exact to the byte.
    ///
    /// # Errors
    /// Bug-class errors for tensors the checkpoint does not have.
    pub fn parts(&self, checkpoint: &Checkpoint) -> Result<Vec<Part>> {
        let part = |name: &str, recipe: Recipe| Part {
            part: name.into(),
            recipe: recipe.to_string(),
            ..Part::default()
        };
        let rest = if self.is_reference() { Recipe::Reference } else { Recipe::Half };
        let mut parts = [
            part(crate::results::BLOCKS, self.blocks),
            part("embedding", self.embedding),
            part("head", self.head),
            part("norms and biases", rest),
        ];
        for (id, stored) in checkpoint.tensors() {
            let size_bytes = self.size_of(self.recipe_of(id, stored), stored);
            let part = &mut parts[PartKind::of(id) as usize];
            part.weights += stored.weights();
            part.size_bytes += size_bytes;
        }
        if self.stores_tied_head(checkpoint) {
            let stored = checkpoint.stored(checkpoint.head())?;
            parts[PartKind::Head as usize].size_bytes = self.size_of(self.head, stored);
        }
        Ok(parts.into_iter().filter(|part| part.size_bytes > 0).collect())
    }

    fn size_of(&self, recipe: Recipe, stored: &Stored) -> u64 {
        match recipe.stored_size(stored.matrix()) {
            Some(size) => size.0,
            None => stored.size_bytes(),
        }
    }
}

impl PartKind {
    fn of(id: TensorId) -> Self {
        use crate::checkpoint::Role;
        match id.role {
            _ if id.bias => PartKind::Rest,
            Role::Embedding => PartKind::Embedding,
            Role::Head => PartKind::Head,
            role if role.is_linear() => PartKind::Blocks,
            _ => PartKind::Rest,
        }
    }
}
