//! `evalkit perplexity`: scores a model as it is stored, or under recipes.

use clap::Args;

use super::args::{FormatArgs, PlanArgs, RunArgs};
use super::help;
use super::reporter::Reporter;
use super::sweep_tables::sweep;
use crate::error::{Exit, Result};
use crate::run::sweep::AfterScoring;

/// Arguments of `evalkit perplexity`.
#[derive(Debug, Args)]
#[command(after_long_help = help::after(
    &[
        "evalkit perplexity -m SmolLM2-135M -t wiki.test.raw --protocol llama.cpp",
        "evalkit perplexity --recipes fp16,int8 --limit 16",
    ],
    &[help::RECIPE_GRAMMAR],
))]
pub struct PerplexityArgs {
    #[command(flatten)]
    plan: PlanArgs,
    #[command(flatten, next_help_heading = help::OPTIONS)]
    run: RunArgs,
    #[command(flatten)]
    format: FormatArgs,
}

/// Runs the command: a sweep without variants unless recipes are named.
///
/// # Errors
/// Those of the plan, the checkpoint, the text and the store.
pub fn run(args: &PerplexityArgs, reporter: &Reporter) -> Result<Exit> {
    let mut plan_args = args.plan.clone();
    let is_named = plan_args.recipes.is_some() || plan_args.bits.is_some();
    if !is_named && plan_args.ablate.is_none() && plan_args.plan.is_none() {
        plan_args.recipes = Some(vec!["fp".into()]);
    }
    sweep(plan_args.plan()?, &args.run, &AfterScoring::default(), args.format.format, reporter)
}
