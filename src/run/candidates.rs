//! What bits are allocated from, and the windows that decide it.

use super::calibration_text::{self, Cutter};
use super::inputs;
use super::job::Opened;
use super::plan::Plan;
use crate::demo;
use crate::error::{At, Error, Result};
use crate::eval::{Cut, Variant, Window};
use crate::quantize::{LayerRecipe, Method, Recipe, Steps};

/// Recipes to choose from, unless named.
const CANDIDATES: [&str; 5] =
    ["palette1-g16-s", "palette2-g16-s", "palette3-g16-s", "palette4-g16-s", "palette6-g16-s"];
/// Those that a text to calibrate on adds.
const CALIBRATED: [&str; 2] = ["vector1-d8", "vector2-d4"];
/// Windows that sensitivities are measured on, unless named.
const WINDOWS: usize = 2;
/// The flag that names candidates.
const FLAG: &str = "--candidates";

/// The variants to choose from: blocks by one recipe each, embedding and head as the plan says. Their
/// codes are found as the candidates say; where none does, with `-cal` if there is a text for it.
///
/// # Errors
/// Input errors of recipes, `fp`, and methods that differ.
pub fn candidates(plan: &Plan) -> Result<Vec<Variant>> {
    let calibrates = plan.calibrate.is_some();
    let names: Vec<&str> = match &plan.target.candidates {
        Some(names) => names.iter().map(String::as_str).collect(),
        None if calibrates => CANDIDATES.into_iter().chain(CALIBRATED).collect(),
        None => CANDIDATES.to_vec(),
    };
    let mut recipes: Vec<LayerRecipe> = Vec::new();
    for name in names {
        let recipe: LayerRecipe = name.parse().at(|| FLAG)?;
        if recipe.weights.is_reference() {
            return Err(Error::input("`fp` has no coded form").at(FLAG).hint("use `fp16`"));
        }
        if !recipes.contains(&recipe) {
            recipes.push(recipe);
        }
    }
    let first = *recipes.first().ok_or_else(|| Error::input("no candidates").at(FLAG))?;
    let is_half = |recipe: &LayerRecipe| recipe.weights == Recipe::Half;
    let mut like = *recipes.iter().find(|recipe| !is_half(recipe)).unwrap_or(&first);
    let differs = |recipe: &&LayerRecipe| {
        recipe.int8_inputs != like.int8_inputs || !is_half(recipe) && recipe.method != like.method
    };
    if let Some(other) = recipes.iter().find(differs) {
        return Err(Error::input(format!(
            "expected the same options after the recipes of weights, found {like} and {other}"
        ))
        .at(FLAG));
    }
    if calibrates && like.method == Method::Unspecified && !is_half(&like) {
        like.method = Method::Calibrated(Steps::ALL);
    }
    recipes.into_iter().map(|recipe| candidate(plan, recipe, like.method)).collect()
}

/// The variant of a candidate.
fn candidate(plan: &Plan, recipe: LayerRecipe, method: Method) -> Result<Variant> {
    let method = if recipe.weights == Recipe::Half { Method::Unspecified } else { method };
    method.check(&recipe.weights).at(|| format!("recipe `{}`", recipe.weights)).at(|| FLAG)?;
    let blocks = LayerRecipe { method, ..recipe };
    let mut variant = Variant { attention: blocks, mlp: blocks, ..Variant::uniform(Recipe::Half) };
    for (part, recipe) in [("embed", &plan.target.embed), ("head", &plan.target.head)] {
        if let Some(recipe) = recipe {
            variant.set_part(part, recipe).at(|| format!("--{part}"))?;
        }
    }
    Ok(variant)
}

/// The windows that sensitivities are measured on, none of which is scored: the first of those that
/// codes are chosen on, else those of the text behind the last one that is scored.
///
/// # Errors
/// Input errors of the texts; windows that are scored.
pub fn windows(plan: &Plan, opened: &Opened) -> Result<Vec<Window>> {
    let wanted = plan.target.sensitivity_windows.unwrap_or(WINDOWS);
    if wanted == 0 {
        return Err(Error::input("--sensitivity-windows: expected 1 or more, found 0"));
    }
    let Opened { tokenizer, text, cut, windows: scored, .. } = opened;
    if plan.calibrate.is_some() || plan.model == demo::NAME {
        let mut windows =
            calibration_text::coding_windows(plan, Cutter { cut, tokenizer }, scored)?;
        windows.truncate(wanted);
        return Ok(windows);
    }
    let cut = Cut { limit: Some(scored.len() + wanted), ..*cut };
    let all = inputs::windows(plan, &cut, tokenizer, text)?;
    let others = all.into_iter().skip(scored.len()).filter(|window| !scored.contains(window));
    let others: Vec<Window> = others.collect();
    if others.is_empty() {
        return Err(Error::input(
            "every window is scored, so that none is left to allocate bits on",
        )
        .at(&text.name)
        .hint("score fewer with --limit, or give other text with --calibrate FILE"));
    }
    Ok(others)
}
