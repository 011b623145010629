//! `evalkit perplexity`: the perplexity of one model as it is stored, or under one recipe.

use clap::Args;

use super::args::{FormatArgs, PlanArgs, RunArgs};
use super::reporter::Reporter;
use super::sweep_tables::sweep;
use crate::error::{Exit, Result};
use crate::run::sweep::AfterScoring;

/// Arguments of `evalkit perplexity`.
#[derive(Debug, Args)]
pub struct PerplexityArgs {
    #[command(flatten)]
    plan: PlanArgs,
    #[command(flatten)]
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
