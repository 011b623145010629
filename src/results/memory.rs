//! Memory of this process and of the machine, as the system reports it.
//!
//! Linux reports in `/proc`. macOS reports a process's memory to `proc_pid_rusage`, and the machine's
//! to the commands `sysctl` and `vm_stat`. What the system does not report is `None`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::environment::ask;

/// Memory of this process, by whether the system can reclaim it: file pages (mapped checkpoints) can be
/// dropped and read again, anonymous pages cannot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Resident anonymous memory: what the program has allocated. On macOS the physical footprint,
    /// which includes compressed memory; it is what Activity Monitor shows.
    pub rss_anon_bytes: u64,
    /// Resident file-backed memory: mapped checkpoints and the program itself. On macOS what is
    /// resident and not part of the footprint.
    pub rss_file_bytes: u64,
}

/// The memory of this process now; `None` if the system does not report it.
pub fn memory_now() -> Option<Memory> {
    match usage() {
        Some(usage) => Some(usage.memory()),
        None => memory_in_status(&std::fs::read_to_string("/proc/self/status").ok()?),
    }
}

fn memory_in_status(text: &str) -> Option<Memory> {
    let (anonymous, file) = (kibibytes(text, "RssAnon:")?, kibibytes(text, "RssFile:")?);
    Some(Memory { rss_anon_bytes: anonymous, rss_file_bytes: file })
}

/// The bytes in a line such as `MemTotal:  16384 kB` of a file in `/proc`.
fn kibibytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// What macOS reports of a process.
#[derive(Debug, Clone, Copy)]
struct Usage {
    resident_bytes: u64,
    footprint_bytes: u64,
    /// The largest footprint since the process started.
    footprint_peak_bytes: u64,
}

impl Usage {
    fn memory(self) -> Memory {
        Memory {
            rss_anon_bytes: self.footprint_bytes,
            rss_file_bytes: self.resident_bytes.saturating_sub(self.footprint_bytes),
        }
    }
}

#[cfg(target_os = "macos")]
fn usage() -> Option<Usage> {
    use libproc::pid_rusage::{RUsageInfoV4, pidrusage};
    let own = i32::try_from(std::process::id()).ok()?;
    let found = pidrusage::<RUsageInfoV4>(own).ok()?;
    Some(Usage {
        resident_bytes: found.ri_resident_size,
        footprint_bytes: found.ri_phys_footprint,
        footprint_peak_bytes: found.ri_lifetime_max_phys_footprint,
    })
}

#[cfg(not(target_os = "macos"))]
fn usage() -> Option<Usage> {
    None
}

/// The machine's memory in bytes.
pub fn machine_total_bytes() -> Option<u64> {
    if cfg!(target_os = "macos") {
        return ask("sysctl", &["-n", "hw.memsize"])?.parse().ok();
    }
    kibibytes(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")
}

/// How many bytes can be allocated before the machine swaps or compresses memory.
pub fn machine_available_bytes() -> Option<u64> {
    if cfg!(target_os = "macos") {
        let output = std::process::Command::new("vm_stat").output().ok()?;
        return available_in_vm_stat(&String::from_utf8(output.stdout).ok()?);
    }
    kibibytes(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")
}

/// Free, speculative and inactive pages, in bytes. The output of `vm_stat` begins with the size of a
/// page, which is 16,384 bytes on Apple silicon and 4,096 on Intel.
fn available_in_vm_stat(text: &str) -> Option<u64> {
    let (_, size) = text.lines().next()?.split_once("page size of ")?;
    let page_bytes: u64 = size.split(' ').next()?.parse().ok()?;
    let pages = |key: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim().trim_end_matches('.').parse().ok()
    };
    let free = pages("Pages free:")? + pages("Pages inactive:")? + pages("Pages speculative:")?;
    Some(free * page_bytes)
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
    /// The peak that the system reported when sampling began.
    lifetime_before_bytes: u64,
}

impl Peaks {
    fn sample(&self) {
        if let Some(now) = memory_now() {
            self.rss_anon_bytes.fetch_max(now.rss_anon_bytes, Relaxed);
            self.rss_file_bytes.fetch_max(now.rss_file_bytes, Relaxed);
            self.seen.store(true, Relaxed);
        }
    }

    /// Takes over the system's own peak, which misses nothing between two samples. It covers the
    /// process's whole life, so it belongs to this sampler only if it grew since sampling began.
    fn correct(&self, usage: Option<Usage>) {
        let peak_bytes = usage.map_or(0, |usage| usage.footprint_peak_bytes);
        if peak_bytes > self.lifetime_before_bytes {
            self.rss_anon_bytes.fetch_max(peak_bytes, Relaxed);
        }
    }
}

impl PeakSampler {
    /// Time between two samples: much shorter than a block's forward pass, much longer than asking the
    /// system.
    const PERIOD: Duration = Duration::from_millis(20);

    /// Starts sampling.
    pub fn start() -> PeakSampler {
        let lifetime_before_bytes = usage().map_or(0, |usage| usage.footprint_peak_bytes);
        let peaks = Arc::new(Peaks { lifetime_before_bytes, ..Peaks::default() });
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
        self.peaks.correct(usage());
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
    fn allocated_and_mapped_memory_are_distinguished() {
        let status = "Name:\tx\nVmHWM:\t   9 kB\nRssAnon:\t    2 kB\nRssFile:\t    3 kB\n";
        let memory = Memory { rss_anon_bytes: 2_048, rss_file_bytes: 3_072 };
        assert_eq!(memory_in_status(status), Some(memory));
        assert_eq!(memory_in_status("RssAnon:\t2 kB\n"), None);
    }

    #[test]
    fn the_machines_memory_is_known_here() {
        let (total, available) = (machine_total_bytes(), machine_available_bytes());
        assert!(total > available && available.is_some_and(|bytes| bytes > 1 << 20), "{total:?}");
    }

    /// As macOS 14 prints it on Apple silicon.
    const VM_STAT: &str = "\
Mach Virtual Memory Statistics: (page size of 16384 bytes)
Pages free:                               45231.
Pages active:                            892341.
Pages inactive:                          234521.
Pages speculative:                        12345.
Pages throttled:                              0.
Pages wired down:                        456789.
Pages purgeable:                          23456.
\"Translation faults\":                1234567890.
Pages copy-on-write:                   12345678.
";

    #[test]
    fn available_memory_of_a_mac_is_in_pages_of_the_size_that_vm_stat_names() {
        let pages = 45_231 + 234_521 + 12_345;
        assert_eq!(available_in_vm_stat(VM_STAT), Some(pages * 16_384));
        let intel = VM_STAT.replace("16384", "4096");
        assert_eq!(available_in_vm_stat(&intel), Some(pages * 4_096));
        assert_eq!(available_in_vm_stat(""), None);
        assert_eq!(available_in_vm_stat(&VM_STAT.replace("Pages inactive", "x")), None);
    }

    #[test]
    fn a_macs_peak_is_the_systems_own_if_it_grew_while_sampling() {
        let usage = |footprint_peak_bytes| Usage {
            resident_bytes: 70,
            footprint_bytes: 50,
            footprint_peak_bytes,
        };
        assert_eq!(usage(90).memory(), Memory { rss_anon_bytes: 50, rss_file_bytes: 20 });
        let peaks = Peaks { lifetime_before_bytes: 90, ..Peaks::default() };
        peaks.correct(Some(usage(90)));
        assert_eq!(peaks.rss_anon_bytes.load(Relaxed), 0);
        peaks.correct(Some(usage(95)));
        assert_eq!(peaks.rss_anon_bytes.load(Relaxed), 95);
    }

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
