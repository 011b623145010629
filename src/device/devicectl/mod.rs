//! Apple's tools on a Mac: devicectl lists, installs and launches, xcodebuild builds.
//!
//! Of their output only the JSON is read, and every field of it may be absent. Known failures are
//! recognised by words or codes and reported with a hint on how to mend them.

mod device_error;
mod install;
mod listing;
#[cfg(test)]
mod tests;
mod tool;

pub use self::device_error::DeviceError;
pub use self::install::{InstallOrder, PROJECT, install};
pub use self::listing::{ListedDevice, Phone, merged};
pub use self::tool::{BUNDLE_ID, Tool};
