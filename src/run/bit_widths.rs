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
    for text in plan.recipes.iter_mut().take(plan.by_width) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo;
    use crate::run::options::PlanOptions;

    /// The recipes of a plan for the demo, whose vector tables would cost too much.
    fn settled(options: &PlanOptions) -> Vec<String> {
        let checkpoint = Checkpoint::open_embedded(&demo::MODEL).unwrap();
        let mut plan = Plan::resolve(options, PlanOptions::default()).unwrap();
        settle(&mut plan, &checkpoint).unwrap();
        plan.recipes
    }

    #[test]
    fn a_width_is_settled_for_the_model_and_a_recipe_that_was_named_stays() {
        let bits = PlanOptions { bits: Some(vec![2]), ..PlanOptions::default() };
        assert_eq!(settled(&bits), ["palette2-g16-s"]);
        let ablate = Some("vector2-d4-cal".to_owned());
        let ablated = settled(&PlanOptions { ablate: ablate.clone(), ..PlanOptions::default() });
        assert!(ablated.iter().all(|name| name.starts_with("vector2-d4")), "{ablated:?}");
        let both = settled(&PlanOptions { ablate, ..bits });
        assert_eq!(both[0], "palette2-g16-s");
        assert_eq!(both[1..], ablated[..]);
        let experts = Some("vector2-d4".to_owned());
        let experts = settled(&PlanOptions { experts, ..PlanOptions::default() });
        assert!(experts.iter().all(|name| name.contains("vector2-d4")), "{experts:?}");
    }
}
