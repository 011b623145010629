//! The candidate recipes of an allocation, and the windows that it is decided on.

use super::calibration_text::{self, Cutter};
use super::job::Opened;
use super::observer::Silent;
use super::plan::Plan;
use crate::demo;
use crate::error::{At, Error, Result};
use crate::eval::{Cut, Variant, Window};
use crate::quantize::{LayerRecipe, Method, REFERENCE_IS_STORED, Recipe, Steps};

/// Default candidates.
const CANDIDATES: [&str; 5] =
    ["palette1-g16-s", "palette2-g16-s", "palette3-g16-s", "palette4-g16-s", "palette6-g16-s"];
/// Further default candidates if there is a calibration text.
const CALIBRATED: [&str; 2] = ["vector1-d8", "vector2-d4"];
/// Default number of windows that sensitivities are measured on.
const WINDOWS: usize = 2;
/// The flag that names candidates.
const FLAG: &str = "--candidates";

/// One variant per candidate recipe: its blocks have that recipe, embedding and head those of the plan.
/// If no candidate names a method and there is a calibration text, the method is `-cal`.
///
/// # Errors
/// Input errors: an invalid recipe, `fp`, candidates whose options differ.
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
            return Err(Error::input(REFERENCE_IS_STORED).at(FLAG).hint("use `fp16`"));
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
            "expected the same options in all candidates, found {like} and {other}"
        ))
        .at(FLAG));
    }
    if calibrates && like.method == Method::Unspecified && !is_half(&like) {
        like.method = Method::Calibrated(Steps::ALL);
    }
    recipes.into_iter().map(|recipe| candidate(plan, recipe, like.method)).collect()
}

/// The variant of one candidate recipe.
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

/// The windows that sensitivities are measured on, none of which is scored: the first calibration
/// windows, or without a calibration text, the windows after the last one that is scored.
///
/// # Errors
/// Input errors of the texts; no window that is not scored.
pub fn windows(plan: &Plan, opened: &Opened) -> Result<Vec<Window>> {
    let count = plan.target.sensitivity_windows.unwrap_or(WINDOWS);
    if count == 0 {
        return Err(Error::input("--sensitivity-windows: expected 1 or more, found 0"));
    }
    let Opened { tokenizer, text, cut, windows: scored, .. } = opened;
    if plan.calibrate.is_some() || plan.model == demo::NAME {
        // What is unusual about the text is told when codes are calibrated on it.
        let cutter = Cutter { cut, tokenizer, observer: &Silent };
        let mut windows = calibration_text::coding_windows(plan, cutter, scored)?;
        windows.truncate(count);
        return Ok(windows);
    }
    let cut = Cut { limit: Some(scored.len() + count), ..*cut };
    let all = text.windows(&cut, tokenizer, plan.parse_special)?;
    let others = all.into_iter().skip(scored.len()).filter(|window| !scored.contains(window));
    let others: Vec<Window> = others.collect();
    if others.is_empty() {
        return Err(Error::input(
            "all windows are scored, so none is left to measure sensitivities on",
        )
        .at(&text.name)
        .hint("score fewer with --limit, or give other text with --calibrate FILE"));
    }
    Ok(others)
}
