//! Apple's tools on a Mac: devicectl lists, installs and launches, xcodebuild builds.
//!
//! Of devicectl's output only the JSON is read, and every field of it may be absent; other output counts
//! only where there is no JSON. Known failures are recognised by words or codes and reported with a hint
//! on how to mend them. Nothing here asks which operating system this is: what counts is whether the
//! tools are there.

mod device_error;
mod install;
mod listing;
#[cfg(test)]
mod tests;
mod tool;
mod xcode;

pub use self::device_error::DeviceError;
pub use self::install::{InstallOrder, PROJECT, bundle_id, install, team};
pub use self::listing::{ListedDevice, Phone, merged};
pub use self::tool::{BUNDLE_ID, Tool};
pub use self::xcode::require_xcode;
