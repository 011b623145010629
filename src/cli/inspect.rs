//! `evalkit inspect`: a checkpoint's structure and its size at each bit-width, from headers alone.

use clap::Args;

use super::args::FormatArgs;
use super::help;
use super::output::print;
use super::reporter::Reporter;
use crate::checkpoint::Checkpoint;
use crate::error::{At, Error, Exit, Result};
use crate::eval::Variant;
use crate::package::bundle::{Bundle, MANIFEST_NAME};
use crate::report::Document;
use crate::run::documents::{device_fit as fit, structure};
use crate::run::{allocation_file, device_fit, inputs};

/// Arguments of `evalkit inspect`.
#[derive(Debug, Args)]
#[command(after_long_help = help::after(
    &[
        "evalkit inspect hf:openai/gpt-oss-20b",
        "evalkit inspect model.gguf --device \"iPhone 15 Pro\" --recipes palette4-g16-s,vector2-d4",
    ],
    &[help::RECIPE_GRAMMAR],
))]
pub struct InspectArgs {
    /// Folder, GGUF file, hf:owner/name[@revision] or demo
    ///
    /// With --device also a folder that evalkit package wrote. From the hub only configuration and index
    /// are fetched.
    #[arg(value_name = "CHECKPOINT", default_value = "demo")]
    model: String,
    /// Predict whether it fits this device, and its speed limit
    ///
    /// iPhone14,2 or "iPhone 13 Pro".
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
    /// Recipes to predict, with --device [default: each bit-width]
    ///
    /// Separated by commas.
    #[arg(long, value_name = "LIST", value_delimiter = ',', requires = "device")]
    recipes: Option<Vec<String>>,
    /// Tokens in the cache, with --device [default: 4096]
    ///
    /// The default is the model's context if that is shorter. Packages keep the length they were made
    /// for.
    #[arg(long, value_name = "TOKENS", requires = "device")]
    context: Option<std::num::NonZeroUsize>,
    /// List every tensor instead of one line per role
    #[arg(long)]
    tensors: bool,
    #[command(flatten)]
    format: FormatArgs,
}

/// Runs the command.
///
/// # Errors
/// Input errors of the checkpoint.
pub fn run(args: &InspectArgs, reporter: &Reporter) -> Result<Exit> {
    reporter.listen()?;
    let device = args.device.as_deref().map(device_fit::device).transpose().at(|| "--device")?;
    let folder = std::path::Path::new(&args.model);
    if folder.join(MANIFEST_NAME).is_file() {
        let device = device.ok_or_else(|| {
            Error::input("expected a checkpoint, found a folder of packages").at(&args.model).hint(
                "add --device NAME to predict whether the packages fit a device, or verify them with \
                 evalkit verify",
            )
        })?;
        let bundle = Bundle::open(folder)?;
        let title = format!("{}: packages on {}", bundle.manifest.model.name, device.name);
        let mut document = Document { title, ..Document::default() };
        fit::packages(&mut document, device, &bundle.manifest);
        print(args.format.format, &document)?;
        return Ok(Exit::Done);
    }
    let outline = inputs::open_outline(&args.model, reporter)?;
    let checkpoint = &outline.checkpoint;
    let mut document = structure::document(&outline, args.tensors)?;
    if let Some(device) = device {
        let context = args.context.map(std::num::NonZeroUsize::get);
        let variants = variants(args, checkpoint)?;
        fit::checkpoint(&mut document, device, checkpoint, &variants, context)?;
    }
    print(args.format.format, &document)?;
    Ok(Exit::Done)
}

/// The variants whose fit is predicted.
fn variants(args: &InspectArgs, checkpoint: &Checkpoint) -> Result<Vec<Variant>> {
    match &args.recipes {
        Some(recipes) => {
            recipes.iter().map(|text| allocation_file::variant(text).at(|| "--recipes")).collect()
        }
        None => structure::ladder(checkpoint),
    }
}
