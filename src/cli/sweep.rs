//! `evalkit sweep`: what each bit-width costs, in one pass over the weights.

use clap::Args;

use super::args::{FormatArgs, PlanArgs, RunArgs};
use super::design::DesignArgs;
use super::measure_args::MeasureArgs;
use super::reporter::Reporter;
use super::sweep_tables::sweep;
use crate::device::client::Target;
use crate::error::{Exit, Result};
use crate::run::sweep::AfterScoring;

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
    /// Measure the packages on these devices, comma-separated: host, usb, usb:<udid>,
    /// tcp:HOST:PORT, all; writes them as --package does
    #[arg(long, value_name = "LIST", value_delimiter = ',', help_heading = "Devices")]
    device: Vec<Target>,
    #[command(flatten, next_help_heading = "Devices")]
    how: MeasureArgs,
    #[command(flatten)]
    format: FormatArgs,
}

/// Runs the command.
///
/// # Errors
/// Those of the plan, the checkpoint, the text and the store.
pub fn run(args: &SweepArgs, reporter: &Reporter) -> Result<Exit> {
    let measures = !args.device.is_empty();
    let after = AfterScoring {
        packages: (args.package || measures).then(|| args.design.options()),
        measure: measures.then(|| args.how.options()),
        devices: args.device.clone(),
    };
    sweep(args.plan.plan()?, &args.run, &after, args.format.format, reporter)
}
