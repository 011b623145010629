//! How many bytes a runner reads to decode one token.

use super::{Bundle, PackageEntry, PackageRole};
use crate::error::{At, Error, Result};
use crate::package::program::FUNCTIONS;

/// What decoding one token takes at least. It is counted from the packages themselves.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Traffic {
    /// Bytes of weights that are read, with their tables and scales. For experts this is the mean
    /// over the experts, times the number of experts that a token is sent to.
    pub weight_bytes: f64,
    /// The number of function calls.
    pub calls: usize,
}

impl Bundle {
    /// The weights that decoding one token reads and the functions that it calls. Reads of the
    /// cache are not counted.
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
                PackageRole::Experts => self.expert_traffic(entry)?,
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

    /// Bytes and calls for the experts of one layer.
    fn expert_traffic(&self, entry: &PackageEntry) -> Result<(f64, usize)> {
        let routing = self.manifest.routing.as_ref();
        let routing =
            routing.ok_or_else(|| Error::input("model.json has experts but no `routing`"))?;
        let package = self.package(entry)?;
        let suffix = format!("_{}", FUNCTIONS[0]);
        let functions = package.functions().keys().filter(|name| name.ends_with(&suffix));
        let bytes = functions.map(|name| package.weight_bytes_per_token(name));
        let bytes: Vec<u64> = bytes.collect::<Result<_>>().at(|| entry.path.clone())?;
        let mean = bytes.iter().sum::<u64>() as f64 / bytes.len().max(1) as f64;
        Ok((mean * routing.experts_per_token as f64, routing.experts_per_token))
    }
}
