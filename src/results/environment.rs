//! Probes of the machine and of this process: what could explain a number.
//!
//! A probe that finds nothing returns `unknown` or `None`; it never stops a run.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::record::Environment;

/// Crates whose version can change a number.
const ARITHMETIC: [&str; 7] =
    ["candle-core", "candle-nn", "gemm", "half", "pulp", "rayon", "tokenizers"];

const LOCK_FILE: &str = include_str!("../../Cargo.lock");

impl Environment {
    /// Describes this program and machine; `device` is where the reference runs.
    pub fn probe(device: &str) -> Environment {
        Environment {
            binary_hash: binary_hash().unwrap_or_else(|| UNKNOWN.to_owned()),
            os: os(),
            cpu_model: cpu_model().unwrap_or_else(|| UNKNOWN.to_owned()),
            cpu_features: cpu_features(),
            device: device.to_owned(),
            package_versions: package_versions(),
        }
    }
}

const UNKNOWN: &str = "unknown";

/// Versions of the arithmetic crates that this program was built with.
fn package_versions() -> BTreeMap<String, String> {
    let value = |line: Option<&str>, key: &str| {
        let text = line?.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"')?;
        Some(text.to_owned())
    };
    let mut versions = BTreeMap::new();
    for package in LOCK_FILE.split("[[package]]") {
        let mut lines = package.trim_start().lines();
        let name = value(lines.next(), "name");
        let version = value(lines.next(), "version");
        if let (Some(name), Some(version)) = (name, version)
            && ARITHMETIC.contains(&name.as_str())
        {
            versions.insert(name, version);
        }
    }
    versions
}

fn binary_hash() -> Option<String> {
    let file = std::fs::File::open(std::env::current_exe().ok()?).ok()?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file).ok()?;
    Some(hasher.finalize().to_hex().to_string())
}

/// The first line that a system command prints.
fn ask(command: &str, arguments: &[&str]) -> Option<String> {
    let output = std::process::Command::new(command).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line = text.lines().next()?.trim();
    (output.status.success() && !line.is_empty()).then(|| line.to_owned())
}

fn os() -> String {
    if cfg!(target_os = "macos") {
        let version = ask("sw_vers", &["-productVersion"]);
        return format!("macOS {}", version.as_deref().unwrap_or(UNKNOWN));
    }
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok();
    let kernel = kernel.as_deref().map_or(UNKNOWN, str::trim);
    format!("{} {kernel} {}", std::env::consts::OS, std::env::consts::ARCH)
}

fn cpu_model() -> Option<String> {
    if cfg!(target_os = "macos") {
        return ask("sysctl", &["-n", "machdep.cpu.brand_string"]);
    }
    model_in_cpuinfo(&std::fs::read_to_string("/proc/cpuinfo").ok()?)
}

/// The processor's name in `/proc/cpuinfo`; on ARM it is made of numbers.
fn model_in_cpuinfo(text: &str) -> Option<String> {
    let field = |key: &str| {
        let line = text.lines().find(|line| line.starts_with(key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    field("model name").or_else(|| {
        let (implementer, part) = (field("CPU implementer")?, field("CPU part")?);
        Some(format!("implementer {implementer} part {part}"))
    })
}

#[cfg(target_arch = "x86_64")]
fn cpu_features() -> Vec<String> {
    let known = [
        ("avx", std::arch::is_x86_feature_detected!("avx")),
        ("avx2", std::arch::is_x86_feature_detected!("avx2")),
        ("fma", std::arch::is_x86_feature_detected!("fma")),
        ("f16c", std::arch::is_x86_feature_detected!("f16c")),
        ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
        ("avx512vnni", std::arch::is_x86_feature_detected!("avx512vnni")),
    ];
    known.into_iter().filter(|(_, there)| *there).map(|(name, _)| name.to_owned()).collect()
}

#[cfg(target_arch = "aarch64")]
fn cpu_features() -> Vec<String> {
    let known = [
        ("neon", std::arch::is_aarch64_feature_detected!("neon")),
        ("fp16", std::arch::is_aarch64_feature_detected!("fp16")),
        ("dotprod", std::arch::is_aarch64_feature_detected!("dotprod")),
        ("i8mm", std::arch::is_aarch64_feature_detected!("i8mm")),
        ("sve", std::arch::is_aarch64_feature_detected!("sve")),
    ];
    known.into_iter().filter(|(_, there)| *there).map(|(name, _)| name.to_owned()).collect()
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn cpu_features() -> Vec<String> {
    Vec::new()
}

/// Memory of this process, by whether the system can reclaim it: file pages (mapped checkpoints) can be
/// dropped and read again, anonymous pages cannot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Resident anonymous memory: what the program has allocated.
    pub rss_anon_bytes: u64,
    /// Resident file-backed memory: mapped checkpoints and the program itself.
    pub rss_file_bytes: u64,
}

/// The memory of this process now; `None` if the system does not distinguish the two (macOS).
pub fn memory_now() -> Option<Memory> {
    memory_in_status(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn memory_in_status(text: &str) -> Option<Memory> {
    let bytes = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kibibytes * 1024)
    };
    Some(Memory { rss_anon_bytes: bytes("RssAnon:")?, rss_file_bytes: bytes("RssFile:")? })
}

/// Samples this process's memory on its own thread until it is dropped.
#[derive(Debug)]
pub struct PeakSampler {
    peaks: Arc<Peaks>,
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Peaks {
    seen: AtomicBool,
    rss_anon_bytes: AtomicU64,
    rss_file_bytes: AtomicU64,
}

impl Peaks {
    fn sample(&self) {
        if let Some(now) = memory_now() {
            self.rss_anon_bytes.fetch_max(now.rss_anon_bytes, Relaxed);
            self.rss_file_bytes.fetch_max(now.rss_file_bytes, Relaxed);
            self.seen.store(true, Relaxed);
        }
    }
}

impl PeakSampler {
    /// Time between two samples: much shorter than a block's forward pass, much longer than reading
    /// `/proc`.
    const PERIOD: Duration = Duration::from_millis(20);

    /// Starts sampling.
    pub fn start() -> PeakSampler {
        let peaks = Arc::new(Peaks::default());
        let (stop, stopped) = mpsc::channel();
        let shared = Arc::clone(&peaks);
        let sample = move || {
            while stopped.recv_timeout(Self::PERIOD) == Err(mpsc::RecvTimeoutError::Timeout) {
                shared.sample();
            }
        };
        // Without the thread, the peak covers only the moments at which it is requested.
        let thread = std::thread::Builder::new().name("memory".to_owned()).spawn(sample).ok();
        PeakSampler { peaks, stop: Some(stop), thread }
    }

    /// The peak of each kind of memory so far, not necessarily at the same moment; `None` if the system
    /// does not report it.
    pub fn peak(&self) -> Option<Memory> {
        self.peaks.sample();
        self.peaks.seen.load(Relaxed).then(|| Memory {
            rss_anon_bytes: self.peaks.rss_anon_bytes.load(Relaxed),
            rss_file_bytes: self.peaks.rss_file_bytes.load(Relaxed),
        })
    }
}

impl Drop for PeakSampler {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probing_twice_describes_the_machine_alike() {
        let environment = Environment::probe("cpu");
        assert_eq!(environment, Environment::probe("cpu"));
        assert_eq!(environment.binary_hash.len(), 64);
        assert!(environment.package_versions.contains_key("candle-core"), "{environment:?}");
    }

    #[test]
    fn processors_are_named_from_either_kind_of_cpuinfo() {
        let x86 = "processor\t: 0\nmodel name\t: Some CPU @ 3 GHz\n";
        let arm = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n";
        assert_eq!(model_in_cpuinfo(x86).as_deref(), Some("Some CPU @ 3 GHz"));
        assert_eq!(model_in_cpuinfo(arm).as_deref(), Some("implementer 0x41 part 0xd0c"));
        assert_eq!(model_in_cpuinfo(""), None);
    }

    #[test]
    fn allocated_and_mapped_memory_are_distinguished() {
        let status = "Name:\tx\nVmHWM:\t   9 kB\nRssAnon:\t    2 kB\nRssFile:\t    3 kB\n";
        let memory = Memory { rss_anon_bytes: 2_048, rss_file_bytes: 3_072 };
        assert_eq!(memory_in_status(status), Some(memory));
        assert_eq!(memory_in_status("RssAnon:\t2 kB\n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_sampler_sees_memory_that_was_freed_before_the_peak_is_read() {
        const SIZE_BYTES: u64 = 64 << 20;
        let sampler = PeakSampler::start();
        let before = sampler.peak().unwrap().rss_anon_bytes;
        let block = vec![1_u8; SIZE_BYTES as usize];
        std::thread::sleep(PeakSampler::PERIOD * 5);
        assert_eq!(std::hint::black_box(block)[7], 1);
        let peak = sampler.peak().unwrap().rss_anon_bytes;
        assert!(peak > before + SIZE_BYTES / 2, "{before} {peak}");
    }
}
