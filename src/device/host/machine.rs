//! What this machine says of itself: its description and its figures. Nothing is invented: what
//! the system has no equal of is null.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::engine::Kind;
use super::store::disk;
use crate::device::protocol::result::{Description, Device, Figures, Power};
use crate::results::{Environment, PeakSampler, memory_now};

/// This machine and this process.
#[derive(Debug)]
pub(super) struct Machine {
    /// SHA of the program, version and system: what a compiled model would depend on.
    pub version: String,
    device: Device,
    peak_bytes: AtomicU64,
    sampler: Mutex<Option<PeakSampler>>,
}

impl Machine {
    /// Asks the system.
    pub fn new() -> Machine {
        let environment = Environment::probe("cpu");
        let build = match cfg!(target_os = "macos") {
            true => ask("sw_vers", "-buildVersion"),
            false => read("/proc/sys/kernel/version"),
        };
        let model = match cfg!(target_os = "macos") {
            true => ask("sysctl", "-nhw.model"),
            false => None,
        };
        let device = Device {
            model_identifier: model.unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            // A host's name belongs to its owner; records are published.
            name: None,
            chip: Some(environment.cpu_model).filter(|name| name != "unknown"),
            os: environment.os.clone(),
            os_build: build.clone(),
            memory_bytes: memory_bytes("MemTotal:"),
            processors: std::thread::available_parallelism().ok().map(|n| n.get() as u32),
        };
        let version =
            [environment.os, build.unwrap_or_default(), environment.binary_hash].join("\n");
        Machine { version, device, peak_bytes: AtomicU64::new(0), sampler: Mutex::new(None) }
    }

    /// The machine, an engine on it, and the store's disk.
    pub fn describe(&self, kind: &Kind, store: &Path) -> Description {
        Description {
            runner: super::NAME.to_owned(),
            engine: kind.engine.to_owned(),
            runtime: kind.runtime.clone(),
            simulated: kind.engine == "simulated",
            device: self.device.clone(),
            free_bytes: disk::free_bytes(store),
            // The system sets a process no limit but the machine's.
            memory_limit_bytes: None,
            compute_units: kind.compute_units.clone(),
            figures: self.figures(0.0),
        }
    }

    /// Watches memory while a job runs.
    pub fn watch(&self, on: bool) {
        let mut sampler = super::lock(&self.sampler);
        if let Some(memory) = sampler.as_ref().and_then(PeakSampler::peak) {
            self.peak_bytes.fetch_max(memory.rss_anon_bytes, Relaxed);
        }
        *sampler = on.then(PeakSampler::start);
    }

    /// Figures now. The footprint is RssAnon, null on macOS; its peak is that of what was seen
    /// every 20 ms while jobs ran and whenever figures were asked for.
    pub fn figures(&self, at_ms: f64) -> Figures {
        let footprint = memory_now().map(|memory| memory.rss_anon_bytes);
        let sampled = super::lock(&self.sampler).as_ref().and_then(PeakSampler::peak);
        let sampled = sampled.map_or(0, |memory| memory.rss_anon_bytes);
        let now = footprint.unwrap_or(0).max(sampled);
        let peak = self.peak_bytes.fetch_max(now, Relaxed).max(now);
        Figures {
            at_ms,
            footprint_bytes: footprint,
            footprint_peak_bytes: footprint.map(|_| peak),
            neural_bytes: None,
            available_bytes: memory_bytes("MemAvailable:"),
            // Linux's zones have temperatures, and no states that mean what Apple's mean.
            thermal: None,
            low_power: None,
            battery_percent: None,
            power: power(Path::new("/sys/class/power_supply")),
            foreground: None,
        }
    }
}

/// A line of `/proc/meminfo`.
fn memory_bytes(key: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// Whether a mains supply of `folder` is on line; nothing where there is none.
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

/// What a command of the system prints.
fn ask(command: &str, argument: &str) -> Option<String> {
    let output = std::process::Command::new(command).arg(argument).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn power_is_what_the_mains_say_and_nothing_without_them() {
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
