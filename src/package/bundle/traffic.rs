//! What a token costs in bytes read.

use super::{Bundle, PackageEntry, Role};
use crate::error::{At, Error, Result};
use crate::package::program::FUNCTIONS;

/// What a decoded token reads at least, from the packages themselves.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Traffic {
    /// Weights with their tables and scales; of experts the mean of those that a token is sent to.
    pub weight_bytes: f64,
    /// Calls of a package's function.
    pub calls: usize,
}

impl Bundle {
    /// What decoding one token reads and calls, without its cache.
    ///
    /// # Errors
    /// Input errors of the packages.
    pub fn traffic(&self) -> Result<Traffic> {
        let [decode, prefill] = FUNCTIONS;
        let entries = self.manifest.packages.iter();
        let decoding = entries.filter(|entry| entry.function.as_deref() != Some(prefill));
        let mut traffic = Traffic::default();
        for entry in decoding {
            let (weight_bytes, calls) = match entry.role {
                Role::Experts => self.of_experts(entry)?,
                _ => {
                    let name = if entry.function.is_some() { "main" } else { decode };
                    (self.package(entry)?.weight_bytes_per_token(name)? as f64, 1)
                }
            };
            traffic.weight_bytes += weight_bytes;
            traffic.calls += calls;
        }
        Ok(traffic)
    }

    /// The experts of a layer that a token is sent to.
    fn of_experts(&self, entry: &PackageEntry) -> Result<(f64, usize)> {
        let routing = self.manifest.routing.as_ref();
        let routing =
            routing.ok_or_else(|| Error::input("model.json does not say how it routes"))?;
        let package = self.package(entry)?;
        let end = format!("_{}", FUNCTIONS[0]);
        let functions = package.functions().keys().filter(|name| name.ends_with(&end));
        let bytes = functions.map(|name| package.weight_bytes_per_token(name));
        let bytes: Vec<u64> = bytes.collect::<Result<_>>().at(|| entry.path.clone())?;
        let mean = bytes.iter().sum::<u64>() as f64 / bytes.len().max(1) as f64;
        Ok((mean * routing.experts_per_token as f64, routing.experts_per_token))
    }
}
