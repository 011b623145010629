//! `evalkit sweep`: what each bit-width costs, in one pass over the weights.

use clap::Args;

use super::args::{FormatArgs, PlanArgs, RunArgs};
use super::design::DesignArgs;
use super::measuring::MeasureArgs;
use super::plan::Plan;
use super::progress::Talk;
use super::tables::{self, Also};
use crate::device::client::Target;
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
pub fn run(args: &SweepArgs, talk: Talk) -> Result<Exit> {
    let measures = !args.device.is_empty();
    let also = Also {
        design: (args.package || measures).then_some(&args.design),
        devices: &args.device,
        how: measures.then_some(&args.how),
    };
    tables::measure(Plan::resolve(&args.plan)?, &args.run, also, args.format.format, talk)
}
