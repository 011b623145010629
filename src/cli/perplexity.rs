//! `evalkit perplexity`: the perplexity of one model as it is stored, or under one recipe.

use clap::Args;

use super::args::{FormatArgs, PlanArgs, RunArgs};
use super::plan::Plan;
use super::progress::Talk;
use super::tables::{self, Also};
use crate::error::{Exit, Result};

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
pub fn run(args: &PerplexityArgs, talk: Talk) -> Result<Exit> {
    let mut plan_args = args.plan.clone();
    let is_named = plan_args.recipes.is_some() || plan_args.bits.is_some();
    if !is_named && plan_args.ablate.is_none() && plan_args.plan.is_none() {
        plan_args.recipes = Some(vec!["fp".into()]);
    }
    tables::measure(
        Plan::resolve(&plan_args)?,
        &args.run,
        Also::default(),
        args.format.format,
        talk,
    )
}
