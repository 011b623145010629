//! `evalkit sweep`: what each bit-width costs, in one pass over the weights.

use clap::Args;

use super::args::{FormatArgs, PlanArgs, RunArgs};
use super::design::DesignArgs;
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
    /// Write every variant as Core ML packages into the run's folder, and prove each of them
    #[arg(long, help_heading = "Packages")]
    package: bool,
    #[command(flatten, next_help_heading = "Packages")]
    design: DesignArgs,
    #[command(flatten)]
    format: FormatArgs,
}

/// Runs the command.
///
/// # Errors
/// Those of the plan, the checkpoint, the text and the store.
pub fn run(args: &SweepArgs, talk: Talk) -> Result<Exit> {
    let design = args.package.then_some(&args.design);
    tables::measure(Plan::resolve(&args.plan)?, &args.run, design, args.format.format, talk)
}
