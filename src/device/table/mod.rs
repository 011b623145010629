//! Which devices exist, and what is known of them: chip, memory, bandwidth, each with its confidence.
//!
//! The table is for devices that are not attached. A device that is attached reports its memory itself.
//! What follows from the table is a prediction, and never decides whether a model is loaded.

mod predict;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::Deserialize;

pub use self::predict::{Demand, Fit, OVERHEAD_BYTES, Prediction, Verdict, predict};
use crate::error::{Error, Result};

const TABLE: &str = include_str!("devices.json");
/// The table's memory limits are in MiB, and memory is sold in GiB, though both are written MB and GB.
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// How many names are suggested for an unknown one.
const SUGGESTIONS: usize = 3;

/// What is known of devices.
#[derive(Debug, Deserialize)]
pub struct DeviceTable {
    devices: Vec<Device>,
    memory_limit_estimate_by_ram_gb: BTreeMap<String, RawLimit>,
}

/// A device.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Device {
    /// `iPhone14,2`.
    pub identifier: String,
    /// `iPhone 13 Pro`.
    pub name: String,
    /// `A15`.
    pub chip: String,
    /// Memory as sold, in GiB; `None` for Macs, which are sold with several sizes.
    pub ram_gb: Option<u32>,
    /// Bandwidth of its memory, in 10^9 bytes per second; `None` if it is not known.
    pub memory_bandwidth_gbps: Option<f64>,
    /// How certain each figure is.
    pub confidence: Confidence,
}

/// How certain the figures of a device are, each with its reason.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Confidence {
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

/// How much memory an app may use on devices with a given memory, estimated from observations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryLimit {
    /// The limit of an app without entitlements; `None` if it is unknown.
    pub default_bytes: Option<u64>,
    /// The limit with the entitlement for an increased one; `None` if it is unknown.
    pub entitled_bytes: Option<u64>,
    /// What the estimate is based on.
    pub basis: String,
}

/// The table.
pub fn devices() -> &'static DeviceTable {
    static DEVICES: OnceLock<DeviceTable> = OnceLock::new();
    DEVICES.get_or_init(|| serde_json::from_str(TABLE).expect("the embedded table, read in tests"))
}

impl DeviceTable {
    /// The device with this identifier, if it is known.
    pub fn by_identifier(&self, identifier: &str) -> Option<&Device> {
        self.devices.iter().find(|device| device.identifier.eq_ignore_ascii_case(identifier))
    }

    /// The device with this identifier or name. If several devices have the name, it is the first; the
    /// table knows the same of all of them.
    ///
    /// # Errors
    /// Input if there is none, with the most similar names as a hint.
    pub fn find(&self, text: &str) -> Result<&Device> {
        let wanted = text.trim();
        let named = || self.devices.iter().find(|d| d.name.eq_ignore_ascii_case(wanted));
        self.by_identifier(wanted).or_else(named).ok_or_else(|| {
            let near = self.nearest(wanted).join(", ");
            Error::input(format!("unknown device {text:?}"))
                .hint(format!("the most similar names are: {near}"))
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

    /// How much memory an app may use on a device; `None` if nothing was observed on devices with the
    /// same memory.
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
    /// Memory as sold; `None` if it is not known.
    pub fn memory_bytes(&self) -> Option<u64> {
        self.ram_gb.map(|gib| u64::from(gib) * GIB)
    }

    /// Whether the maker states the bandwidth; otherwise it is a guess.
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
        let text: serde_json::Value = serde_json::from_str(TABLE).unwrap();
        let seen = text["memory_limit_observations"].as_array().unwrap();
        assert!(!seen.is_empty() && seen.iter().all(|seen| seen["source"].is_string()));
    }

    #[test]
    fn similar_names_are_suggested_and_a_guessed_bandwidth_is_not_called_stated() {
        let error = devices().find("iPhone 13 Por").unwrap_err();
        assert!(error.advice().unwrap().contains("iPhone 13 Pro"), "{error}");
        assert!(!devices().find("iPhone14,2").unwrap().is_bandwidth_stated());
        assert!(devices().find("Mac15,3").unwrap().is_bandwidth_stated());
    }
}
