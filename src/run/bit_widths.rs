//! The recipe that a bit-width stands for in a given model: vector recipes below 3 bits, unless the
//! model is so small that their tables cost more than they save.

use super::plan::Plan;
use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::eval::Variant;
use crate::quantize::Recipe;
use crate::results::{BLOCK_PARTS, StoredPart};
use crate::units::BitsPerWeight;

/// The most bits per weight that tables and scales may add to a vector recipe.
const MOST_ADDED_BITS: f64 = 0.2;

/// The recommended recipe of a width for the blocks of a model.
///
/// # Errors
/// An input error for other widths than 16, 8, 6, 4, 3, 2 and 1.
pub fn recipe(bits: u8, checkpoint: &Checkpoint) -> Result<Recipe> {
    let recipe = Recipe::for_bits(bits)?;
    if !matches!(recipe, Recipe::Vector(_)) {
        return Ok(recipe);
    }
    // Sizes cannot be computed if vectors do not divide the rows.
    let parts = Variant::uniform(recipe).parts(checkpoint);
    let is_small = parts.is_ok_and(|p| blocks_bits(&p) <= f64::from(bits) + MOST_ADDED_BITS);
    if is_small { Ok(recipe) } else { Recipe::scalar_for_bits(bits) }
}

/// Replaces the recipes that bit-widths stand for in a plan, now that its checkpoint is known.
///
/// # Errors
/// None for a plan that was resolved.
pub fn settle(plan: &mut Plan, checkpoint: &Checkpoint) -> Result<()> {
    if !plan.is_by_width {
        return Ok(());
    }
    for text in &mut plan.recipes {
        let mut variant: Variant = text.parse()?;
        for part in [&mut variant.attention, &mut variant.mlp] {
            let bits = part.weights.nominal_bits().unwrap_or_default();
            if Recipe::for_bits(bits).is_ok_and(|recommended| recommended == part.weights) {
                part.weights = recipe(bits, checkpoint)?;
            }
        }
        *text = variant.to_string();
    }
    Ok(())
}

/// Stored bits per weight of the blocks, from the sizes of a variant's parts.
pub fn blocks_bits(parts: &[StoredPart]) -> f64 {
    let blocks = parts.iter().filter(|part| BLOCK_PARTS.contains(&part.part.as_str()));
    let (bytes, weights) = blocks
        .fold((0, 0), |(bytes, weights), part| (bytes + part.size_bytes, weights + part.weights));
    BitsPerWeight::of(bytes, weights).0
}
