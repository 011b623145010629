//! What this machine reports: its description and its figures. What the system does not report is
//! null.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::engine::EngineKind;
use super::locks::lock;
use super::store::disk;
use crate::device::protocol::result::{Description, Device, Figures, Power};
use crate::results::{
    Environment, PeakSampler, ask, machine_available_bytes, machine_total_bytes, memory_now,
};

/// The runner's name and version.
pub(super) const NAME: &str = concat!("evalkit-runner ", env!("CARGO_PKG_VERSION"));

/// This machine and this process.
#[derive(Debug)]
pub(super) struct Machine {
    /// System, its build, and the hash of this program: what a compiled model would depend on.
    pub version: String,
    device: Device,
    peak_bytes: AtomicU64,
    sampler: Mutex<Option<PeakSampler>>,
}

impl Machine {
    /// Asks the system what it is.
    pub fn new() -> Machine {
        let environment = Environment::probe("cpu");
        let (build, model) = if cfg!(target_os = "macos") {
            (ask("sw_vers", &["-buildVersion"]), ask("sysctl", &["-n", "hw.model"]))
        } else {
            (read("/proc/sys/kernel/version"), None)
        };
        let device = Device {
            model_identifier: model.unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            // The machine's name is private, and records are published.
            name: None,
            chip: Some(environment.cpu_model).filter(|name| name != "unknown"),
            os: environment.os.clone(),
            os_build: build.clone(),
            memory_bytes: machine_total_bytes(),
            processors: std::thread::available_parallelism().ok().map(|n| n.get() as u32),
        };
        let version =
            [environment.os, build.unwrap_or_default(), environment.binary_hash].join("\n");
        Machine { version, device, peak_bytes: AtomicU64::new(0), sampler: Mutex::new(None) }
    }

    /// Describes the machine, its engine, and the disk of the store.
    pub fn describe(&self, kind: &EngineKind, store: &Path) -> Description {
        Description {
            runner: NAME.to_owned(),
            engine: kind.engine.to_owned(),
            runtime: kind.runtime.clone(),
            simulated: kind.simulated,
            device: self.device.clone(),
            free_bytes: disk::free_bytes(store),
            // A process may use all of the machine's memory.
            memory_limit_bytes: None,
            compute_units: kind.compute_units.clone(),
            figures: self.figures(0.0),
        }
    }

    /// Starts or stops sampling the peak of memory, for the duration of a job.
    pub fn watch_memory(&self, on: bool) {
        let mut sampler = lock(&self.sampler);
        if let Some(memory) = sampler.as_ref().and_then(PeakSampler::peak) {
            self.peak_bytes.fetch_max(memory.rss_anon_bytes, Relaxed);
        }
        *sampler = on.then(PeakSampler::start);
    }

    /// The figures at this moment. The footprint is RssAnon, on macOS the physical footprint. Its
    /// peak is the largest value seen, every 20 ms during jobs and whenever figures are taken.
    pub fn figures(&self, at_ms: f64) -> Figures {
        let footprint = memory_now().map(|memory| memory.rss_anon_bytes);
        let sampled = lock(&self.sampler).as_ref().and_then(PeakSampler::peak);
        let sampled = sampled.map_or(0, |memory| memory.rss_anon_bytes);
        let now = footprint.unwrap_or(0).max(sampled);
        let peak = self.peak_bytes.fetch_max(now, Relaxed).max(now);
        Figures {
            at_ms,
            footprint_bytes: footprint,
            footprint_peak_bytes: footprint.map(|_| peak),
            neural_bytes: None,
            available_bytes: machine_available_bytes(),
            // Linux reports temperatures, but no states that correspond to Apple's.
            thermal: None,
            low_power: None,
            battery_percent: None,
            power: power(Path::new("/sys/class/power_supply")),
            foreground: None,
            neural_peak_bytes: None,
        }
    }
}

/// Whether a mains supply listed in `folder` is online; `None` if none is listed.
fn power(folder: &Path) -> Option<Power> {
    let mut found = None;
    for entry in std::fs::read_dir(folder).ok()?.flatten() {
        let read = |name: &str| std::fs::read_to_string(entry.path().join(name)).ok();
        if read("type").is_some_and(|kind| kind.trim() == "Mains") {
            match read("online").as_deref().map(str::trim) {
                Some("1") => return Some(Power::Plugged),
                Some("0") => found = Some(Power::Unplugged),
                _ => {}
            }
        }
    }
    found
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn power_is_what_the_mains_supply_reports_and_none_without_one() {
        let folder = tempfile::tempdir().unwrap();
        let supply = |name: &str, kind: &str, online: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(&path).unwrap();
            std::fs::write(path.join("type"), kind).unwrap();
            std::fs::write(path.join("online"), online).unwrap();
        };
        assert_eq!(power(&folder.path().join("none")), None);
        supply("BAT0", "Battery\n", "1\n");
        assert_eq!(power(folder.path()), None);
        supply("AC", "Mains\n", "0\n");
        assert_eq!(power(folder.path()), Some(Power::Unplugged));
        supply("AC", "Mains\n", "1\n");
        assert_eq!(power(folder.path()), Some(Power::Plugged));
    }
}
