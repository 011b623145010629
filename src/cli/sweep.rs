//! `evalkit sweep`: what each bit-width costs, in one pass over the weights.

use clap::Args;

use super::args::{FormatArgs, PlanArgs, RunArgs};
use super::plan::Plan;
use super::progress::Talk;
use super::tables;
use crate::error::{Exit, Result};

/// Arguments of `evalkit sweep`.
#[derive(Debug, Args)]
pub struct SweepArgs {
    #[command(flatten)]
    plan: PlanArgs,
    #[command(flatten)]
    run: RunArgs,
    #[command(flatten)]
    format: FormatArgs,
}

/// Runs the command.
///
/// # Errors
/// Those of the plan, the checkpoint, the text and the store.
pub fn run(args: &SweepArgs, talk: Talk) -> Result<Exit> {
    tables::measure(Plan::resolve(&args.plan)?, &args.run, args.format.format, talk)
}
