//! `--ablate RECIPE`: the variants that show what each step of calibrated coding is worth.

use crate::error::{Error, Result};
use crate::eval::Variant;
use crate::quantize::{Method, Steps};

/// The recipe uncalibrated; calibrated with every step off, with each step off in turn, and with all
/// steps on; and, if it is tuned, with only the model tuned, with only the blocks tuned, and with both.
///
/// # Errors
/// Input errors: an invalid recipe, or one that is not calibrated.
pub fn variants(recipe: &str) -> Result<Vec<Variant>> {
    let whole: Variant = recipe.parse()?;
    if !whole.is_calibrated() {
        return Err(Error::input("nothing in this recipe is calibrated")
            .at(format!("recipe `{recipe}`"))
            .hint(format!("use `{recipe}-cal`")));
    }
    let coded = with(&whole, Steps::untuned);
    let none = with(&coded, |steps| (0..Steps::SWITCHES).fold(steps, Steps::without));
    let each = (0..Steps::SWITCHES).map(|switch| with(&coded, |steps| steps.without(switch)));
    // Turning off a step that is already off gives the full recipe, which comes last.
    let each = each.filter(|variant| *variant != coded);
    let tuned = [
        with(&whole, |steps| Steps { tune_blocks: false, ..steps }),
        with(&whole, |steps| Steps { tune_whole: false, ..steps }),
    ];
    let all = [free(&whole), none].into_iter().chain(each).chain([coded.clone()]);
    let all = all.chain(tuned).chain([whole.clone()]);
    let mut variants: Vec<Variant> = Vec::new();
    for variant in all {
        if !variants.contains(&variant) {
            variants.push(variant);
        }
    }
    Ok(variants)
}

/// The variant with its calibrated parts coded from the weights alone, even if a text is given.
fn free(variant: &Variant) -> Variant {
    let mut changed = variant.clone();
    for part in changed.calibrated_parts() {
        if part.method.steps().is_some() {
            part.method = Method::DataFree;
        }
    }
    changed
}

/// The variant with the steps of its calibrated parts changed by `steps`.
fn with(variant: &Variant, steps: impl Fn(Steps) -> Steps) -> Variant {
    let mut changed = variant.clone();
    for part in changed.calibrated_parts() {
        if let Method::Calibrated(own) = part.method {
            part.method = Method::Calibrated(steps(own));
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(recipe: &str) -> Vec<String> {
        variants(recipe).unwrap().iter().map(Variant::to_string).collect()
    }

    #[test]
    fn a_recipe_becomes_every_variant_that_tells_its_steps_apart() {
        let all = [
            "vector2-d4-free",
            "vector2-d4-cal-noeq-norep-nocomp-noalt-nodesc",
            "vector2-d4-cal-noeq",
            "vector2-d4-cal-norep",
            "vector2-d4-cal-nocomp",
            "vector2-d4-cal-noalt",
            "vector2-d4-cal-nodesc",
            "vector2-d4-cal",
            "vector2-d4-ft",
            "vector2-d4-cal-blocks",
            "vector2-d4-ft-blocks",
        ];
        assert_eq!(names("vector2-d4-ft-blocks"), all);
        assert_eq!(names("vector2-d4-ft"), all[..9]);
        assert_eq!(names("vector2-d4-cal"), all[..8]);
    }

    #[test]
    fn steps_that_are_off_stay_off_and_parts_without_steps_stay_as_they_are() {
        let found = names("int4-cal-norep-noalt-nodesc+attention:int8");
        let all = [
            "int4-free+attention:int8",
            "int4-cal-noeq-norep-nocomp-noalt-nodesc+attention:int8",
            "int4-cal-noeq-norep-noalt-nodesc+attention:int8",
            "int4-cal-norep-nocomp-noalt-nodesc+attention:int8",
            "int4-cal-norep-noalt-nodesc+attention:int8",
        ];
        assert_eq!(found, all);
        let error = variants("palette2").unwrap_err().to_string();
        assert!(error.contains("use `palette2-cal`"), "{error}");
    }
}
