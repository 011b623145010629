//! evalkit answers which bit-width of a language model can ship on an iPhone, and whether it is still
//! the model that was tested.
//!
//! It quantizes a checkpoint under several recipes, scores every variant against the unquantized
//! model in one pass over the weights, writes Core ML packages, and proves that the packages compute
//! the model that was scored. This crate is the library behind the `evalkit` command.
//!
//! # A sweep
//!
//! A [`Sweep`] takes [`PlanOptions`], keeps records in a folder, and returns the results. Nothing is
//! measured twice: the same sweep with the same folder reads the records that are there.
//!
//! ```
//! use evalkit::{PlanOptions, Silent, Sweep};
//!
//! # fn main() -> evalkit::Result<()> {
//! # let folder = std::env::temp_dir().join(format!("evalkit-doc-{}", std::process::id()));
//! let plan = PlanOptions { bits: Some(vec![4, 2]), limit: Some(2), ..PlanOptions::default() };
//! let swept = Sweep::new(plan).reports(&folder).run(&Silent)?;
//!
//! for row in &swept.summary.rows {
//!     let Ok(outcome) = &row.outcome else { continue };
//!     let quality = &outcome.quality;
//!     println!("{}: perplexity {:.3}", row.variant, quality.perplexity.point);
//!     if !row.is_reference {
//!         println!("  KL divergence from the reference: {:.4} nats per token", quality.kl_mean_nats.point);
//!     }
//! }
//! # assert_eq!(swept.summary.rows.len(), 3);
//! # std::fs::remove_dir_all(folder).ok();
//! # Ok(())
//! # }
//! ```
//!
//! The plan names no model here, so the built-in demo is swept. [`PlanOptions::model`] takes a Hugging
//! Face folder, a GGUF file or `hf:owner/name`.
//!
//! # Packages
//!
//! [`package()`] writes Core ML packages for one recipe, and [`verify()`] proves that a folder of packages
//! is the checkpoint under that recipe: every weight is compared bit for bit, and the packages are
//! executed on the CPU and compared with the model.
//!
//! # Records and reports
//!
//! A sweep leaves raw samples in its folder. [`RunFolder`] reads them, [`Summary`] computes means and
//! intervals from them, and [`Swept::render`] makes a page in any [`Format`].
//!
//! # Errors
//!
//! Every function returns the crate's [`Error`], which says what failed, where, and how to mend it, and
//! has a class ([`Exit`]) that the command line turns into its exit code.

#[cfg(not(feature = "internals"))]
mod allocate;
#[cfg(not(feature = "internals"))]
mod calibrate;
#[cfg(not(feature = "internals"))]
mod checkpoint;
#[cfg(not(feature = "internals"))]
mod cli;
#[cfg(not(feature = "internals"))]
mod compare;
#[cfg(not(feature = "internals"))]
mod demo;
#[cfg(not(feature = "internals"))]
mod device;
#[cfg(not(feature = "internals"))]
mod error;
#[cfg(not(feature = "internals"))]
mod escape;
#[cfg(not(feature = "internals"))]
mod eval;
#[cfg(not(feature = "internals"))]
mod files;
#[cfg(not(feature = "internals"))]
mod model;
#[cfg(not(feature = "internals"))]
mod package;
#[cfg(not(feature = "internals"))]
mod quantize;
#[cfg(not(feature = "internals"))]
mod report;
#[cfg(not(feature = "internals"))]
mod results;
#[cfg(not(feature = "internals"))]
mod run;
#[cfg(not(feature = "internals"))]
mod stats;
#[cfg(not(feature = "internals"))]
mod units;

// Tests, benches and fuzz targets reach the rooms by a feature; users never do.
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod allocate;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod calibrate;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod checkpoint;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod cli;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod compare;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod demo;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod device;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod error;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod escape;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod eval;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod files;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod model;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod package;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod quantize;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod report;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod results;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod run;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod stats;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod units;

pub use compare::summary::{Summary, SummaryRow, VariantScores};
pub use error::{Error, Exit, Result};
pub use package::verify::VerificationLink;
pub use report::Format;
pub use results::{Record, RunFolder};
pub use run::observer::{Observer, Silent};
pub use run::options::PlanOptions;
pub use run::package::{PackageOptions, package};
pub use run::sweep::{Sweep, Swept};
pub use run::verify::verify;

/// Runs the command line `args`, the program's name first. The binary consists of this call.
#[doc(hidden)]
pub fn command_line(args: impl IntoIterator<Item = std::ffi::OsString>) -> Exit {
    cli::run(args)
}

/// Raised whenever the program's numbers change for the same input: records of another version
/// are never mixed with today's.
pub(crate) const NUMERIC_VERSION: u32 = 1;
