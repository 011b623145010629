//! Which devices exist, and what is known of them: chip, memory, bandwidth, each with how sure it is.
//!
//! What cannot be asked of a device that is not attached. A device that is attached says its memory
//! itself; nothing here decides whether a model is loaded, it only predicts.

mod predict;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::Deserialize;

pub use self::predict::{Demand, Fit, OVERHEAD_BYTES, Prediction, Verdict, predict};
use crate::error::{Error, Result};

const TABLE: &str = include_str!("devices.json");
/// Bytes of what the table calls MB in memory limits, and of the GB in which memory is sold.
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// Names that are suggested for one that is not known.
const SUGGESTIONS: usize = 3;

/// Everything that is known.
#[derive(Debug, Deserialize)]
pub struct Devices {
    /// What must be known to read it.
    pub note: String,
    /// Where each kind of figure is from.
    pub sources: BTreeMap<String, String>,
    /// The devices.
    pub devices: Vec<Device>,
    /// What was seen of memory limits, in the words of whoever saw it.
    pub memory_limit_observations: Vec<serde_json::Value>,
    memory_limit_estimate_by_ram_gb: BTreeMap<String, RawLimit>,
}

/// A device.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Device {
    /// `iPhone14,2`.
    pub identifier: String,
    /// `iPhone 13 Pro`.
    pub name: String,
    /// `iPhone`, `iPad` or `Mac`.
    pub family: String,
    /// `A15`.
    pub chip: String,
    /// Memory as sold, in GiB; of Macs none, for it varies.
    pub ram_gb: Option<u32>,
    /// Bandwidth of its memory, in 10^9 bytes per second.
    pub memory_bandwidth_gbps: Option<f64>,
    /// When it was sold first.
    pub released: Option<String>,
    /// How sure each figure is.
    pub confidence: Confidence,
}

/// How sure the figures of a device are, each with its reason.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Confidence {
    /// Of the identifier.
    pub identifier: String,
    /// Of the memory.
    pub ram: String,
    /// Of the bandwidth.
    pub bandwidth: String,
}

#[derive(Debug, Deserialize)]
struct RawLimit {
    default_mb: Option<u64>,
    with_entitlement_mb: Option<u64>,
    basis: String,
}

/// What an app may use on devices of some memory, as estimated from observations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryLimit {
    /// As apps are.
    pub default_bytes: Option<u64>,
    /// With the entitlement for an increased limit.
    pub entitled_bytes: Option<u64>,
    /// What the estimate stands on.
    pub basis: String,
}

/// The table.
pub fn devices() -> &'static Devices {
    static DEVICES: OnceLock<Devices> = OnceLock::new();
    DEVICES.get_or_init(|| serde_json::from_str(TABLE).expect("the embedded table, read in tests"))
}

impl Devices {
    /// The device of this identifier.
    pub fn by_identifier(&self, identifier: &str) -> Option<&Device> {
        self.devices.iter().find(|device| device.identifier.eq_ignore_ascii_case(identifier))
    }

    /// The device of this identifier or name; of several with one name, which are alike in all that
    /// the table knows, the first.
    ///
    /// # Errors
    /// An input error that suggests the nearest names.
    pub fn find(&self, text: &str) -> Result<&Device> {
        let wanted = text.trim();
        let named = || self.devices.iter().find(|d| d.name.eq_ignore_ascii_case(wanted));
        self.by_identifier(wanted).or_else(named).ok_or_else(|| {
            let near = self.nearest(wanted).join(", ");
            Error::input(format!("no device is known as {text:?}"))
                .hint(format!("the nearest are: {near}"))
        })
    }

    fn nearest(&self, text: &str) -> Vec<&str> {
        let wanted = text.to_lowercase();
        let names = self.devices.iter().flat_map(|d| [d.name.as_str(), d.identifier.as_str()]);
        let mut near: Vec<(f64, &str)> = names
            .map(|name| {
                (strsim::normalized_damerau_levenshtein(&wanted, &name.to_lowercase()), name)
            })
            .collect();
        near.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
        near.dedup();
        near.into_iter().take(SUGGESTIONS).map(|(_, name)| name).collect()
    }

    /// What an app may use on a device, where something was seen on devices of its memory.
    pub fn memory_limit(&self, device: &Device) -> Option<MemoryLimit> {
        let limit = self.memory_limit_estimate_by_ram_gb.get(&device.ram_gb?.to_string())?;
        let bytes = |mib: Option<u64>| mib.map(|mib| mib * MIB);
        Some(MemoryLimit {
            default_bytes: bytes(limit.default_mb),
            entitled_bytes: bytes(limit.with_entitlement_mb),
            basis: limit.basis.clone(),
        })
    }
}

impl Device {
    /// Memory as sold.
    pub fn memory_bytes(&self) -> Option<u64> {
        self.ram_gb.map(|gib| u64::from(gib) * GIB)
    }

    /// Whether its bandwidth is stated by its maker; else it is a guess.
    pub fn is_bandwidth_stated(&self) -> bool {
        self.confidence.bandwidth.starts_with("high")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_device_is_found_by_its_identifier_and_its_name() {
        let all = devices();
        assert!(all.devices.len() > 100);
        for device in &all.devices {
            assert_eq!(all.find(&device.identifier).unwrap(), device);
            let twin = all.find(&device.name.to_uppercase()).unwrap();
            let known = |d: &Device| (d.ram_gb, d.memory_bandwidth_gbps.map(f64::to_bits));
            assert_eq!((&twin.chip, known(twin)), (&device.chip, known(device)), "{}", device.name);
            assert!(device.memory_bandwidth_gbps.is_some() || !device.is_bandwidth_stated());
        }
        assert!(all.sources.contains_key("bandwidth") && all.note.contains("Never use"));
        assert!(all.memory_limit_observations.iter().all(|seen| seen["source"].is_string()));
    }

    #[test]
    fn unknown_names_get_the_nearest_and_a_guess_is_said_to_be_one() {
        let error = devices().find("iPhone 13 Por").unwrap_err();
        assert!(error.advice().unwrap().contains("iPhone 13 Pro"), "{error}");
        assert!(!devices().find("iPhone14,2").unwrap().is_bandwidth_stated());
        assert!(devices().find("Mac15,3").unwrap().is_bandwidth_stated());
    }
}
