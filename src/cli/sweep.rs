//! `evalkit sweep`: compares bit-widths and recipes with the model as it is stored.

use clap::{ArgGroup, Args};

use super::args::{FormatArgs, PlanArgs, RunArgs};
use super::design::DesignArgs;
use super::help;
use super::measure_args::MeasureArgs;
use super::reporter::Reporter;
use super::sweep_tables::sweep;
use crate::device::client::Target;
use crate::error::{Exit, Result};
use crate::run::sweep::AfterScoring;

/// Arguments of `evalkit sweep`.
#[derive(Debug, Args)]
#[command(
    mut_args(help::details),
    group(ArgGroup::new(help::ASKS_FOR_PACKAGES).args(["package", "device"]).multiple(true)),
    after_long_help = help::after(
        &[
            "evalkit sweep --bits 8,4,2 --limit 32",
            "evalkit sweep -m model.gguf -t wiki.test.raw --calibrate wiki.valid.raw --bits 4,2",
        ],
        &[help::RECIPE_GRAMMAR, help::DEVICE_NAMES],
    )
)]
pub struct SweepArgs {
    #[command(flatten)]
    plan: PlanArgs,
    #[command(flatten, next_help_heading = help::OPTIONS)]
    run: RunArgs,
    #[command(flatten)]
    format: FormatArgs,
    /// Write and verify Core ML packages of every variant
    #[arg(long, help_heading = help::PACKAGES)]
    package: bool,
    #[command(flatten, next_help_heading = help::PACKAGES)]
    design: DesignArgs,
    /// Measure the packages on these devices
    ///
    /// Separated by commas: host, usb, usb:<udid>, tcp:HOST:PORT, all. Writes the packages first, as
    /// --package does.
    #[arg(long, value_name = "LIST", value_delimiter = ',', help_heading = help::DEVICES)]
    device: Vec<Target>,
    #[command(flatten, next_help_heading = help::DEVICES)]
    how: MeasureArgs,
}

/// Runs the command.
///
/// # Errors
/// Those of the plan, the checkpoint, the text and the store.
pub fn run(args: &SweepArgs, reporter: &Reporter) -> Result<Exit> {
    let measures = !args.device.is_empty();
    let after = AfterScoring {
        packages: (args.package || measures).then(|| args.design.options()),
        measure: measures.then(|| args.how.options()).transpose()?,
        devices: args.device.clone(),
    };
    sweep(args.plan.plan()?, &args.run, &after, args.format.format, reporter)
}
