//! The budget of an allocation, resolved from flags and plan keys and checked.

use serde::Serialize;

use super::options::{PartRecipes, PlanOptions};
use crate::error::{Error, Result};

/// A budget that bits are allocated within, tensor by tensor.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Target {
    /// Stored bits per weight of the blocks' linear layers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_bits: Option<f64>,
    /// The device that the model must fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fit: Option<String>,
    /// Whether the app on that device has the entitlement for an increased memory limit.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub entitled: bool,
    /// Recipes to choose from; `None` takes default candidates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidates: Option<Vec<String>>,
    /// Windows that sensitivities are measured on; `None` means 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sensitivity_windows: Option<usize>,
    /// Recipe of the embedding; `None` means fp16.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embed: Option<String>,
    /// Recipe of the head; `None` means fp16.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
}

impl Target {
    /// Whether bits are to be allocated.
    pub fn is_set(&self) -> bool {
        self.target_bits.is_some() || self.fit.is_some()
    }

    /// Resolves the budget: flags override the keys of a plan file. `parts` are the recipes that flags
    /// or keys set for single parts.
    ///
    /// # Errors
    /// Input errors: two budgets, options of a budget without a budget, recipes for parts of blocks.
    pub(super) fn resolve(
        flags: &PlanOptions,
        file: &PlanOptions,
        parts: &PartRecipes,
    ) -> Result<Self> {
        let mut target = Target {
            target_bits: flags.target_bits,
            fit: flags.fit.clone(),
            entitled: flags.entitled || file.entitled,
            candidates: flags.candidates.clone().or_else(|| file.candidates.clone()),
            sensitivity_windows: flags.sensitivity_windows.or(file.sensitivity_windows),
            ..Target::default()
        };
        if !target.is_set() {
            (target.target_bits, target.fit) = (file.target_bits, file.fit.clone());
        }
        let refuse = |what: &str, hint: &str| Err(Error::input(what).hint(hint));
        if target.target_bits.is_some() && target.fit.is_some() {
            return refuse("the plan has both `target_bits` and `fit`", "keep one of them");
        }
        if !target.is_set() {
            if target == Target::default() {
                return Ok(target);
            }
            return refuse(
                "--entitled, --candidates and --sensitivity-windows need a bit allocation",
                "ask for one with --target-bits BITS or --fit DEVICE",
            );
        }
        if target.entitled && target.fit.is_none() {
            return refuse("--entitled needs a device", "name it with --fit DEVICE");
        }
        for (part, recipe) in [("attention", &parts.attention), ("experts", &parts.experts)] {
            if recipe.is_some() {
                let what =
                    format!("--{part} conflicts with the allocation, which chooses its recipes");
                return refuse(&what, "leave one of them out");
            }
        }
        (target.embed, target.head) = (parts.embed.clone(), parts.head.clone());
        Ok(target)
    }
}
